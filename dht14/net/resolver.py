"""Resolves host names in the reactor's threads."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from dht14.kademlia.contact import Address
from dht14.node.ports import Resolver

RESOLVE_TIMEOUT = 5.0
"""Seconds; a name that takes longer has no address this time."""

GetAddrInfo = Callable[[str, int, int, int], "list[tuple[Any, ...]]"]
"""As `socket.getaddrinfo`."""


def resolver(reactor: Any, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> Resolver:
    """Make a `Resolver` that uses the configuration of this host (files, DNS).

    `reactor.nameResolver` would do, but without file descriptors `getaddrinfo` raises errors that it neither
    expects nor reports.
    """

    def resolve(host: str, port: int) -> "Deferred[list[Address]]":
        infos = deferToThreadPool(
            reactor,
            reactor.getThreadPool(),
            getaddrinfo,
            host,
            port,
            socket.AF_UNSPEC,
            socket.SOCK_STREAM,
        )
        infos.addTimeout(RESOLVE_TIMEOUT, reactor)
        return infos.addCallbacks(_addresses, _none)

    return resolve


def _addresses(infos: "list[tuple[Any, ...]]") -> list[Address]:
    return list(dict.fromkeys((address[0], address[1]) for *_, address in infos))


def _none(failure: Failure) -> list[Address]:
    """A name that does not exist, is no name (`UnicodeError`) or cannot be asked for now has no address."""
    failure.trap(OSError, UnicodeError, TimeoutError)
    return []
