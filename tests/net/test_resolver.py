from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.resolver import RESOLVE_TIMEOUT, resolver


@define
class NameResolver:
    """Records the names to resolve; with `known`, it answers at once."""

    known: list[Any] | None = None
    asked: list[tuple[Any, str, int]] = field(factory=list)

    def resolveHostName(self, receiver: Any, name: str, port: int) -> None:
        self.asked.append((receiver, name, port))
        receiver.resolutionBegan(None)
        if self.known is not None:
            for address in self.known:
                receiver.addressResolved(address)
            receiver.resolutionComplete()


class Reactor(Clock):
    """A clock with a name resolver."""

    def __init__(self, names: NameResolver) -> None:
        super().__init__()
        self.nameResolver = names


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.names = NameResolver()
        self.reactor = Reactor(self.names)
        self.resolve = resolver(self.reactor)

    def test_all_addresses(self) -> None:
        """All addresses of a name, of both families, are found once each, with the given port."""
        found = self.resolve("seed.example", 8000)
        ((receiver, *asked),) = self.names.asked
        self.assertEqual(asked, ["seed.example", 8000])
        for address in (
            IPv4Address("TCP", "192.0.2.1", 8000),
            IPv6Address("TCP", "2001:db8::1", 8000),
            IPv4Address("TCP", "192.0.2.1", 8000),
            UNIXAddress(b"/nowhere"),
        ):
            receiver.addressResolved(address)
        self.assertNoResult(found)
        receiver.resolutionComplete()
        self.assertEqual(self.successResultOf(found), [("192.0.2.1", 8000), ("2001:db8::1", 8000)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """An answer that comes at once counts, and leaves no timer."""
        self.names.known = [IPv4Address("TCP", "192.0.2.1", 1)]
        self.assertEqual(self.successResultOf(self.resolve("a", 1)), [("192.0.2.1", 1)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_none(self) -> None:
        """A name without an address gives an empty list, not a failure."""
        self.names.known = []
        self.assertEqual(self.successResultOf(self.resolve("a", 1)), [])

    def test_timeout(self) -> None:
        """Nothing waits for ever for a resolver; a late answer is ignored."""
        found = self.resolve("a", 1)
        self.reactor.advance(RESOLVE_TIMEOUT)
        self.assertEqual(self.successResultOf(found), [])
        receiver, _, _ = self.names.asked[0]
        receiver.addressResolved(IPv4Address("TCP", "192.0.2.1", 1))
        receiver.resolutionComplete()

    def test_cancelled(self) -> None:
        """A cancelled resolution leaves no timer."""
        found = self.resolve("a", 1)
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.names.asked[0][0].resolutionComplete()
