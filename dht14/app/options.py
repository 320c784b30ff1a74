"""The table of all options, and their values as one frozen `Settings`.

Each attribute of a section class is an option: its parser, its default as it would be written in the file,
and its purpose. `config` reads them; conf/config.ini also says what a higher and a lower value costs.
"""

import enum
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from attrs import frozen

from dht14.app import option_types
from dht14.app.option_types import HostPort, Network
from dht14.kademlia.contact import Seed
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.security.subnets import PRIVATE_RANGES
from dht14.wire.messages import MAX_TTL_MS

T = TypeVar("T")

_DAY = 86_400
_YEAR = 365 * _DAY
_MAX_TTL = MAX_TTL_MS // 1_000


class Role(enum.Enum):
    """The kind of node that a process runs."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"

    @property
    def title(self) -> str:
        """Return the name for people."""
        return "node" if self is Role.NODE else "bootstrap node"


class LogLevel(enum.Enum):
    """The lowest level of an event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(enum.Enum):
    """Text for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class YesNo(enum.Enum):
    """The answer to a question with two answers."""

    YES = "yes"
    NO = "no"


class AdminSocket(enum.Enum):
    """Where the admin surface listens, if not at a TCP address."""

    UNIX = "unix"
    """At the socket `admin.sock` in the data directory."""
    NONE = "none"


class PutReply(enum.Enum):
    """The reply to a PUT: SUCCESS or FAILURE, or nothing, as the VoidPhone specification says."""

    SUCCESS = "success"
    NONE = "none"


def option(parse: Callable[[str], T], default: str, purpose: str, *, secret: bool = False) -> T:
    """Return the attribute of one option."""
    attribute: T = attrs.field(
        default=parse(default),
        repr=not secret,
        metadata={"parse": parse, "default": default, "purpose": purpose},
    )
    return attribute


@frozen
class NodeSettings:
    """Section `[node]`."""

    p2p_address: HostPort = option(
        option_types.host_port,
        "0.0.0.0:8000",
        "address and port for other nodes, UDP and TCP: IPv4, [IPv6] or a host name",
    )
    api_address: HostPort = option(
        option_types.host_port,
        "0.0.0.0:7400",
        "TCP address and port of the API; [api] api_allow limits who may connect",
    )
    data_dir: str = option(
        option_types.file_path,
        "",
        "folder of identity, values, contacts and lock; empty: data/node, or data/bootstrap",
    )
    cleanup_interval: float = option(
        option_types.seconds(1, _YEAR),
        "86400",
        "seconds between sweeps of expired values, which are never served; lower: more writes",
    )
    bootstrap_retry_interval: float = option(
        option_types.seconds(0.1, _DAY), "5", "seconds between the first attempts to reach a seed"
    )
    max_bootstrap_retries: int = option(
        option_types.whole_number(0, 1000),
        "2",
        "number of these attempts; then the pauses grow, and the node never gives up",
    )
    network: str = option(
        option_types.network_name, "main", "nodes of networks of different names ignore each other"
    )
    advertised_address: HostPort | None = option(
        option_types.optional(option_types.host_port),
        "",
        "address and port at which others reach this node behind a NAT; empty: as its datagrams show",
    )
    admin_address: HostPort | AdminSocket = option(
        option_types.one_of_or(AdminSocket, option_types.host_port),
        "unix",
        "HTTP for operators: unix (admin.sock in data_dir), HOST:PORT, or none",
    )
    admin_hosts: tuple[str, ...] = option(
        option_types.host_names,
        "",
        "names, separated by commas, under which browsers may address admin_address; IP addresses always may",
    )
    log_level: LogLevel = option(
        option_types.one_of(LogLevel, warning=LogLevel.WARN),
        "info",
        "lowest level that is logged: debug, info, warn, error or critical",
    )
    log_format: LogFormat = option(option_types.one_of(LogFormat), "text", "text, or json: one object a line")


@frozen
class SecuritySettings:
    """Section `[security]`."""

    encryption_key: bytes | None = option(
        option_types.secret_key,
        "",
        "32 characters, 64 hex digits or file:PATH; empty: the node makes one and keeps it in data_dir",
        secret=True,
    )
    difficulty: int = option(
        option_types.whole_number(0, 8),
        "4",
        "leading zero hex digits of the proof of work of a node id; the same in the whole network",
    )
    diversity_private: YesNo = option(
        option_types.one_of(YesNo),
        "no",
        "yes or no: whether the limits per subnet hold in loopback and private ranges, too",
    )


@frozen
class RateLimiterSettings:
    """Section `[rate_limiter]`."""

    requests_per_second: float = option(
        option_types.number(0, 1_000_000), "100", "requests per second of one API client; 0: no limit"
    )
    loopback_requests_per_second: float | None = option(
        option_types.optional(option_types.number(0, 1_000_000)),
        "",
        "the same for clients on loopback; empty: no limit while requests_per_second is 100, else the same",
    )
    burst_size: int = option(
        option_types.whole_number(0, 1_000_000), "200", "requests of one API client that may come at once"
    )
    peer_requests_per_second: float = option(
        option_types.number(0, 1_000_000),
        "1000",
        "requests per second of one other node; the rest is not answered; 0: no limit",
    )
    peer_burst_size: int = option(
        option_types.whole_number(0, 1_000_000), "2000", "requests of one other node that may come at once"
    )

    @property
    def loopback_rate(self) -> float:
        """Requests per second of a client on loopback; 0: no limit.

        The default limit is only for clients of other hosts. A configured limit is for all clients.
        """
        if self.loopback_requests_per_second is not None:
            return self.loopback_requests_per_second
        is_default = self.requests_per_second == RateLimiterSettings().requests_per_second
        return 0.0 if is_default else self.requests_per_second


@frozen
class ApiSettings:
    """Section `[api]`."""

    api_allow: tuple[Network, ...] = option(
        option_types.networks,
        ", ".join(PRIVATE_RANGES),
        "networks that may connect to the API, with commas between them",
    )
    put_reply: PutReply = option(
        option_types.one_of(PutReply), "success", "reply to a PUT: success (SUCCESS or FAILURE), or none"
    )
    max_connections: int = option(option_types.whole_number(1, 65_536), "1024", "API connections in all")
    max_connections_per_client: int = option(
        option_types.whole_number(1, 65_536), "128", "API connections of one client address"
    )


@frozen
class StorageSettings:
    """Section `[storage]`."""

    replication: int = option(
        option_types.whole_number(1, MAX_REPLICATION),
        "8",
        "holders of a value whose PUT asks for no number; higher: more disk and traffic",
    )
    min_ttl: int = option(
        option_types.whole_number(1, _MAX_TTL), "60", "seconds; a shorter time to live is raised to this"
    )
    max_ttl: int = option(
        option_types.whole_number(1, _MAX_TTL), "86400", "seconds; a longer time to live is cut to this"
    )
    default_ttl: int | None = option(
        option_types.optional(option_types.whole_number(1, _MAX_TTL)),
        "",
        "seconds that a value lives if its PUT asks for no time; empty: a day, within min_ttl and max_ttl",
    )
    storage_limit: int = option(
        option_types.byte_size(1 << 20, 1 << 40),
        "1G",
        "bytes that the values may take on disk; K, M and G work",
    )
    writer_share: float = option(
        option_types.number(0.01, 1_000),
        "1.0",
        "multiple of the free bytes that another node, or a subnet of them, may hold",
    )
    kept_limit: int = option(
        option_types.byte_size(1 << 20, 1 << 40),
        "64M",
        "bytes that the values of dht14 put --keep may take on disk, beside storage_limit",
    )
    refresh_interval: float = option(
        option_types.seconds(1, _DAY),
        "900",
        "seconds after which a bucket without a lookup is refreshed; lower: more traffic",
    )
    republish_interval: float = option(
        option_types.seconds(1, _DAY),
        "3600",
        "seconds after which the holders of a value are asked for it, or less under churn; lower: faster "
        "repair, more traffic",
    )

    @property
    def ttl_unless_asked(self) -> int:
        """Seconds that a value lives if its PUT asks for no time: `default_ttl`, or a day within the
        bounds."""
        return self.default_ttl or min(max(_DAY, self.min_ttl), self.max_ttl)


@frozen
class Settings:
    """All options of a node, validated."""

    node: NodeSettings = NodeSettings(data_dir="data/node")
    bootstrap: tuple[Seed, ...] = ()
    security: SecuritySettings = SecuritySettings()
    rate_limiter: RateLimiterSettings = RateLimiterSettings()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    unused: tuple[str, ...] = ()
    """What other modules read in a VoidPhone's shared file: names of global options, [sections]."""


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSettings,
    "security": SecuritySettings,
    "rate_limiter": RateLimiterSettings,
    "api": ApiSettings,
    "storage": StorageSettings,
}
"""The sections with a fixed list of options. In `[bootstrap]` the operator chooses the names."""
