"""Warns the operator, when a node starts, of settings that others could make use of."""

from twisted.logger import Logger

from dht14.app.option_types import is_loopback
from dht14.app.options import Settings

SAMPLE_KEY = b"12345678901234567890123456789012"
"""Published with the older implementation: whoever reads the disk has it too."""

_log = Logger()


def tell_of_risks(settings: Settings) -> None:
    """What the operator has chosen that others could make use of."""
    if settings.security.encryption_key == SAMPLE_KEY:
        _log.warn(
            "[security] encryption_key is the published sample: the values on this disk are open to "
            "everybody who can read it. Set a key of your own (dht14 rekey)."
        )
    if not settings.security.difficulty:
        _log.warn(
            "[security] difficulty is 0: node ids cost nothing. That is for tests and for networks that "
            "strangers cannot reach."
        )


def tell_of_reach(settings: Settings) -> None:
    """Who beside this host's own programs may use the API, which asks for no password."""
    host, port = settings.node.api_address
    others = [network for network in settings.api.api_allow if not network.is_loopback]
    if is_loopback(host) or not others:
        return
    _log.warn(
        "The API can be reached from other hosts: it listens on {host} port {port}, asks for no password, and [api] "
        "api_allow lets in {networks}. Who comes through a published port of a container comes from such a private "
        "address too. To keep it to this host, set api_address to 127.0.0.1:{port}, or api_allow to 127.0.0.0/8, ::1.",
        host=host,
        port=port,
        networks=", ".join(map(str, others)),
    )
