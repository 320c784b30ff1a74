"""What the log says of the configuration at the start: what attackers can use, what is not read."""

from ipaddress import ip_address

from twisted.logger import Logger

from dht14.app.option_types import is_loopback
from dht14.app.options import Settings

SAMPLE_KEY = b"12345678901234567890123456789012"
"""The key that the configuration of the older implementation published."""

_log = Logger()


def warn_of_risky_settings(settings: Settings) -> None:
    """Warn of a key that is public, and of node ids that cost nothing."""
    if settings.security.encryption_key == SAMPLE_KEY:
        _log.warn(
            "[security] encryption_key is the published sample: everyone who can read this disk can decrypt "
            "its values. Set a key of your own (dht14 rekey).",
            event="config.sample_key",
        )
    if not settings.security.difficulty:
        _log.warn(
            "[security] difficulty is 0: node ids cost nothing. Use this only for tests and on networks that "
            "unknown peers cannot reach.",
            event="config.no_difficulty",
        )


def warn_of_open_api(settings: Settings) -> None:
    """Warn if other hosts can use the API, which asks for no password."""
    host, port = settings.node.api_address
    others = [network for network in settings.api.api_allow if not network.is_loopback]
    if is_loopback(host) or not others:
        return
    _log.warn(
        "Other hosts can use the API: it listens on {host} port {port} without a password, and [api] "
        "api_allow allows {networks}. Connections through a published port of a container come from such a "
        "private address, too. To keep it to this host, set api_address to 127.0.0.1:{port}, or api_allow "
        "to 127.0.0.0/8, ::1.",
        event="api.open_to_hosts",
        host=host,
        port=port,
        networks=", ".join(map(str, others)),
    )


def warn_of_unreachable_seeds(settings: Settings) -> None:
    """Warn of seeds to which nothing comes from the address of this node."""
    own, _ = settings.node.p2p_address
    for seed in settings.bootstrap:
        if not _can_send(own, seed.host):
            _log.warn(
                "The seed {host} port {port} is out of reach from [node] p2p_address {own}: an address of "
                "loopback reaches this host only, and IPv4 and IPv6 do not reach each other.",
                event="config.unreachable_seed",
                host=seed.host,
                port=seed.port,
                own=own,
            )


def _can_send(own: str, seed: str) -> bool:
    """Whether a socket with the address `own` can send to a seed. True for a host name:
    it is not resolved yet."""
    try:
        here, there = ip_address(own), ip_address(seed)
    except ValueError:
        return True
    if here.is_unspecified:
        return here.version == 6 or there.version == 4
    return here.version == there.version and (there.is_loopback or not here.is_loopback)


def tell_unused(settings: Settings) -> None:
    """Name what other modules of a VoidPhone read in the configuration file, and this node does not."""
    if settings.unused:
        _log.info(
            "Modules of a VoidPhone share the configuration file; this node does not read {unused}. Its "
            "identity is identity.pem in its data directory.",
            event="config.not_read",
            unused=", ".join(settings.unused),
        )
