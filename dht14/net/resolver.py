"""Resolves host names through the reactor."""

from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from zope.interface import implementer

from dht14.kademlia.contact import Address
from dht14.node.ports import Resolver
from dht14.node.timers import then_cancel

T = TypeVar("T")

RESOLVE_TIMEOUT = 5.0
"""Seconds; a name that takes longer has no address this time."""


def resolver(reactor: Any) -> Resolver:
    """Make a `Resolver` that uses the configuration of this host (files, DNS), in the reactor's threads."""

    def resolve(host: str, port: int) -> "Deferred[list[Address]]":
        resolution = _Resolution()
        reactor.nameResolver.resolveHostName(resolution, host, port)
        timeout = reactor.callLater(RESOLVE_TIMEOUT, resolution.resolutionComplete)
        return resolution.complete.addBoth(then_cancel, timeout)

    return resolve


@implementer(IResolutionReceiver)
class _Resolution:
    """Collects the addresses of one name."""

    def __init__(self) -> None:
        self.complete: Deferred[list[Address]] = Deferred()
        self._found: list[Address] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: Any) -> None:
        if (
            isinstance(address, (IPv4Address, IPv6Address))
            and (address.host, address.port) not in self._found
        ):
            self._found.append((address.host, address.port))

    def resolutionComplete(self) -> None:
        if not self.complete.called:
            self.complete.callback(self._found)
