"""The configuration: from options, environment and file to one frozen `Settings`.

An option given at the command line goes before the environment (`DHT14_<SECTION>_<OPTION>`), that
before the file, and that before the default. The attributes of the section classes below are the table
of options: each line has the parser, the default as it would stand in the file, and what the option is
for. Everything wrong is a `ConfigError` that names the section, the option and the cure.
"""

import configparser
import difflib
import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import attrs
from attrs import frozen

from dht14 import config_values as values
from dht14.config_values import HostPort, Network
from dht14.errors import ConfigError
from dht14.kademlia.contact import Seed
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.wire.messages import MAX_TTL_MS

T = TypeVar("T")

_DAY = 86_400
_YEAR = 365 * _DAY
_MAX_TTL = MAX_TTL_MS // 1_000
_VARIABLE = "DHT14_"


class Role(enum.Enum):
    """What a process is started as."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"


class LogLevel(enum.Enum):
    """The least level of an event that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(enum.Enum):
    """Lines for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class PutReply(enum.Enum):
    """What a client hears after a PUT: SUCCESS or FAILURE, or, as VoidPhone has it, nothing."""

    SUCCESS = "success"
    NONE = "none"


def option(
    parse: Callable[[str], T], default: str, purpose: str, *, acts: bool = True, secret: bool = False
) -> T:
    """One line of the table. `acts`: whether anything in this version heeds the option."""
    line: T = attrs.field(
        default=parse(default),
        repr=not secret,
        metadata={"parse": parse, "default": default, "purpose": purpose, "acts": acts},
    )
    return line


@frozen
class NodeSettings:
    """`[node]`"""

    p2p_address: HostPort = option(
        values.host_port, "0.0.0.0:8000", "UDP address for other nodes: IPv4, [IPv6] or a host name, and port"
    )
    api_address: HostPort = option(
        values.host_port, "0.0.0.0:7400", "TCP address of the API; who may connect there says [api] api_allow"
    )
    data_dir: str = option(
        values.path, "", "folder of identity, values, contacts and lock; empty: data/node, or data/bootstrap"
    )
    cleanup_interval: float = option(
        values.seconds(1, _YEAR), "86400", "seconds between sweeps of expired values (never served anyway)"
    )
    bootstrap_retry_interval: float = option(
        values.seconds(0.1, _DAY), "5", "seconds between the first tries to reach a seed"
    )
    max_bootstrap_retries: int = option(
        values.whole(0, 1000), "2", "how many such tries before the pauses grow; it never gives up"
    )
    log_level: LogLevel = option(
        values.choice(LogLevel, warning=LogLevel.WARN), "info", "debug, info, warn, error or critical"
    )
    log_format: LogFormat = option(values.choice(LogFormat), "text", "text, or json: one object a line")


@frozen
class SecuritySettings:
    """`[security]`"""

    encryption_key: bytes | None = option(
        values.secret_key,
        "",
        "32 characters, 64 hex digits or file:PATH; empty: one is made and kept in data_dir",
        secret=True,
    )
    difficulty: int = option(
        values.whole(0, 8),
        "4",
        "zero hex digits of the proof of work; without effect until identities are mined",
        acts=False,
    )


@frozen
class RateLimiterSettings:
    """`[rate_limiter]`"""

    requests_per_second: float = option(
        values.number(0, 1_000_000), "100", "requests per second and client of the API; 0: no limit"
    )
    burst_size: int = option(values.whole(0, 1_000_000), "200", "requests that may come at once")


@frozen
class ApiSettings:
    """`[api]`"""

    api_allow: tuple[Network, ...] = option(
        values.networks,
        "127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, ::1/128, fc00::/7, fe80::/10",
        "networks that may connect to the API, with commas between them",
    )
    put_reply: PutReply = option(
        values.choice(PutReply), "success", "answer to a PUT: success (or FAILURE), or none at all"
    )
    max_connections: int = option(values.whole(1, 65_536), "1024", "API connections in all")
    max_connections_per_client: int = option(
        values.whole(1, 65_536), "128", "API connections of one client address"
    )


@frozen
class StorageSettings:
    """`[storage]`"""

    replication: int = option(
        values.whole(1, MAX_REPLICATION), "8", "holders of a value whose PUT asks for no number"
    )
    min_ttl: int = option(
        values.whole(1, _MAX_TTL), "60", "a shorter time to live is raised to this, seconds"
    )
    max_ttl: int = option(values.whole(1, _MAX_TTL), "86400", "a longer one is cut to this, seconds")
    default_ttl: int = option(values.whole(1, _MAX_TTL), "86400", "time to live where none is asked, seconds")
    storage_limit: int = option(
        values.size(1 << 20, 1 << 40), "1G", "bytes that the values may take on disk; K, M and G work"
    )
    refresh_interval: float = option(
        values.seconds(1, _DAY), "900", "seconds after which an idle part of the routing table is refreshed"
    )


@frozen
class Settings:
    """Everything a node is told, checked. `without_effect`: options given that nothing heeds yet."""

    node: NodeSettings = NodeSettings(data_dir="data/node")
    bootstrap: tuple[Seed, ...] = ()
    security: SecuritySettings = SecuritySettings()
    rate_limiter: RateLimiterSettings = RateLimiterSettings()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    without_effect: tuple[str, ...] = ()


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSettings,
    "security": SecuritySettings,
    "rate_limiter": RateLimiterSettings,
    "api": ApiSettings,
    "storage": StorageSettings,
}
"""The sections with a fixed list of options; in `[bootstrap]` the operator chooses the names."""

_BOOTSTRAP = "bootstrap"
_OPTIONS = {section: tuple(attrs.fields_dict(kind)) for section, kind in SECTIONS.items()}


class _Given(NamedTuple):
    """The text of one option and where it was written."""

    text: str
    source: str


_Texts = dict[tuple[str, str], _Given]


def load(
    role: Role,
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    seeds: Sequence[str] = (),
) -> Settings:
    """The settings of one process.

    `options` are those of `[node]` that were given at the command line; `seeds`, when there are any,
    replace the whole of `[bootstrap]`. Raises `ConfigError`.
    """
    texts = _from_file(path) if path is not None else {}
    texts |= _from_environment(environment or {})
    for name, text in (options or {}).items():
        texts["node", name] = _Given(text, "--" + name.replace("_", "-"))
    if seeds:
        texts = {key: given for key, given in texts.items() if key[0] != _BOOTSTRAP}
        texts |= {(_BOOTSTRAP, str(n)): _Given(text, "--bootstrap") for n, text in enumerate(seeds)}
    for (section, name), given in texts.items():
        if not given.text.isprintable():
            # Not repeated: an indented line below an option, a key perhaps, becomes part of its value.
            raise _wrong(section, name, given, "has a line break in it; begin every option at the margin")
    folder = os.path.dirname(os.path.abspath(path)) if path is not None else os.curdir
    return _checked(_settings(role, _with_key_file_below(folder, texts)))


def _settings(role: Role, texts: _Texts) -> Settings:
    sections = {section: _section(section, texts) for section in SECTIONS}
    if not sections["node"].data_dir:
        sections["node"] = attrs.evolve(sections["node"], data_dir=f"data/{role.value}")
    return Settings(
        bootstrap=tuple(
            _parsed(values.seed, section, name, given)
            for (section, name), given in texts.items()
            if section == _BOOTSTRAP
        ),
        without_effect=tuple(
            f"[{section}] {name}"
            for (section, name), given in texts.items()
            if section in SECTIONS and given.text and not _line(section, name)["acts"]
        ),
        **sections,
    )


def _section(section: str, texts: _Texts) -> Any:
    return SECTIONS[section](
        **{
            name: _parsed(_line(section, name)["parse"], section, name, texts[section, name])
            for name in _OPTIONS[section]
            if (section, name) in texts
        }
    )


def _line(section: str, name: str) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = attrs.fields_dict(SECTIONS[section])[name].metadata
    return metadata


def _parsed(parse: Callable[[str], T], section: str, name: str, given: _Given) -> T:
    try:
        return parse(given.text)
    except ValueError as wrong:
        raise _wrong(section, name, given, str(wrong)) from None


def _wrong(section: str, name: str, given: _Given, problem: str) -> ConfigError:
    return ConfigError(f"[{section}] {name} ({given.source}): {problem}")


def _with_key_file_below(folder: str, texts: _Texts) -> _Texts:
    key = ("security", "encryption_key")
    given = texts.get(key)
    if given is None or not given.text.startswith("file:"):
        return texts
    there = os.path.join(folder, given.text.removeprefix("file:"))
    return texts | {key: given._replace(text="file:" + there)}


def _from_file(path: str) -> _Texts:
    file = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        with open(path, encoding="utf-8-sig") as lines:
            file.read_file(lines, path)
    except OSError as wrong:
        raise ConfigError(f"cannot read {path} ({wrong.strerror}); give --config a readable file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as that") from None
    except configparser.Error as wrong:
        raise ConfigError(_where(path, wrong)) from None
    texts: _Texts = {}
    for section in file.sections():
        _refuse_unknown("section", section, [_BOOTSTRAP, *SECTIONS], path)
        for name, text in file.items(section):
            if section != _BOOTSTRAP:
                _refuse_unknown(f"option in [{section}]", name, _OPTIONS[section], path)
            texts[section, name] = _Given(text, path)
    return texts


def _where(path: str, wrong: configparser.Error) -> str:
    """What is wrong with the file as a file. Never the line itself: it may hold a key."""
    if isinstance(wrong, configparser.DuplicateOptionError):
        return (
            f"[{wrong.section}] {_shown(wrong.option)} stands twice in {path}, again in line {wrong.lineno}"
        )
    if isinstance(wrong, configparser.DuplicateSectionError):
        return f"[{wrong.section}] stands twice in {path}, again in line {wrong.lineno}; make it one section"
    if isinstance(wrong, configparser.MissingSectionHeaderError):
        return f"{path}, line {wrong.lineno}: stands before any section; write [node] or another above it"
    if isinstance(wrong, configparser.ParsingError) and wrong.errors:
        return f"{path}, line {wrong.errors[0][0]}: is no option; write name = value"
    return f"{path} cannot be read as sections with lines of name = value"


def _from_environment(environment: Mapping[str, str]) -> _Texts:
    known = {
        f"{_VARIABLE}{section}_{name}".upper(): (section, name)
        for section, names in _OPTIONS.items()
        for name in names
    }
    seed_prefix = f"{_VARIABLE}{_BOOTSTRAP}_".upper()
    texts: _Texts = {}
    for variable in sorted(environment):
        if not variable.startswith(_VARIABLE):
            continue
        seed_name = variable.removeprefix(seed_prefix)
        if seed_name != variable and seed_name:
            key = (_BOOTSTRAP, seed_name.lower())
        else:
            _refuse_unknown("variable", variable, known, "the environment")
            key = known[variable]
        texts[key] = _Given(environment[variable], variable)
    return texts


def _refuse_unknown(what: str, name: str, known: Iterable[str], source: str) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    raise ConfigError(f"unknown {what}: {_shown(name)} ({source}); did you mean {nearest[0]}?")


def _shown(name: str) -> str:
    # A key on a line of its own, or behind a forgotten "=", is read as a name.
    return name if len(name) < 32 and name.isprintable() else f"a name of {len(name)} characters"


def _checked(settings: Settings) -> Settings:
    """What no option shows alone."""
    storage, limiter = settings.storage, settings.rate_limiter
    if storage.min_ttl > storage.max_ttl:
        raise ConfigError(
            f"[storage] min_ttl ({storage.min_ttl}) must not exceed max_ttl ({storage.max_ttl})"
        )
    if not storage.min_ttl <= storage.default_ttl <= storage.max_ttl:
        raise ConfigError(
            f"[storage] default_ttl ({storage.default_ttl}) must lie between min_ttl ({storage.min_ttl}) "
            f"and max_ttl ({storage.max_ttl}); set it as well"
        )
    if limiter.requests_per_second and not limiter.burst_size:
        raise ConfigError("[rate_limiter] burst_size must be at least 1 unless requests_per_second is 0")
    return settings
