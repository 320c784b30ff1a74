from collections.abc import AsyncGenerator
from typing import cast

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.node_events import (
    LOOKUPS_PER_SECOND,
    MAX_PENDING_EVENTS,
    PEERS_EVERY,
    STATUS_INTERVAL,
    TELL_DELAY,
    EventFeed,
    totals,
)
from dht14.net.admin.view import PeerJson, StatusJson
from dht14.node_metrics import NodeMetrics
from tests.app.listener import Listener
from tests.fakes import Peer
from tests.node.node_case import KEY, NodeTestCase


@define
class FakeSource:
    """A node of which there is only its status."""

    def status(self) -> StatusJson:
        return cast(StatusJson, {"ready": True})

    def peers(self) -> list[PeerJson]:
        return []

    def metrics(self) -> NodeMetrics | None:
        return None


class StateTests(SynchronousTestCase):
    """Status and contacts at their intervals."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.feed = EventFeed(FakeSource(), self.clock)

    def test_before_there_is_a_node(self) -> None:
        """A node without an id has a status at once and every second, and no contacts."""
        listener = Listener(self.feed.events())
        listener.listen()
        self.assertEqual(listener.kinds, ["status"])
        self.clock.pump([STATUS_INTERVAL] * 3)
        self.assertEqual(listener.kinds, ["status"] * 4)
        self.assertEqual([event["at"] for event in listener.of("status")], [0, 1, 2, 3])
        self.assertEqual(listener.of("status")[0]["totals"], totals(None))

    def test_leaves(self) -> None:
        """Nothing stays on the clock when a listener leaves, wherever it was."""
        listener = Listener(self.feed.events())
        listening = listener.listen()
        listening.cancel()
        self.failureResultOf(listening, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = Listener(self.feed.events())
        self.successResultOf(other.take())
        self.successResultOf(Deferred.fromCoroutine(close(other.events)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_several(self) -> None:
        """One that comes later has the state at once, and then at the same moments as the others."""
        listeners = [Listener(self.feed.events()) for _ in range(2)]
        listening = [listeners[0].listen()]
        self.clock.advance(STATUS_INTERVAL / 2)
        listening.append(listeners[1].listen())
        self.assertEqual([listener.kinds for listener in listeners], [["status"], ["status"]])
        self.clock.advance(STATUS_INTERVAL / 2)
        self.assertEqual(listeners[0].received[1:], listeners[1].received[1:])
        self.assertEqual(len(listeners[1].received), 2)
        listening[0].cancel()
        self.failureResultOf(listening[0])
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual([len(listener.received) for listener in listeners], [2, 3])
        listening[1].cancel()
        self.failureResultOf(listening[1])
        self.assertEqual(self.clock.getDelayedCalls(), [])


async def close(events: AsyncGenerator[bytes, None]) -> None:
    await events.aclose()


class LookupTests(NodeTestCase):
    """Lookups, call by call, while somebody listens."""

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(12)
        self.put(self.peers[11], b"value")
        self.reader = self.peers[10]
        self.feed = EventFeed(FakeSource(), self.network.clock)
        self.feed.built(self.reader.node.lookups)

    def listen(self) -> tuple[Listener, "Deferred[None]"]:
        listener = Listener(self.feed.events())
        return listener, listener.listen()

    def is_traced(self, peer: Peer) -> bool:
        return peer.node.lookups.observer is not None

    def test_contacts(self) -> None:
        """Contacts are sent at once and at their interval."""
        listener, listening = self.listen()
        self.assertEqual(listener.kinds, ["status", "peers"])
        self.network.wait(STATUS_INTERVAL * PEERS_EVERY + 0.01)
        self.assertEqual(listener.kinds.count("peers"), 2)
        listening.cancel()
        self.failureResultOf(listening)

    def test_lookup(self) -> None:
        """Each call is sent when it ends, and the lookup behind them."""
        listener, listening = self.listen()
        self.get(self.reader)
        self.network.wait(1)
        calls, (lookup,) = listener.of("call"), listener.of("lookup")
        self.assertEqual((lookup["kind"], lookup["target"]), ("FindValue", f"{KEY:064x}"))
        self.assertEqual((lookup["calls"], lookup["failed"]), (len(calls), 0))
        self.assertEqual({call["outcome"] for call in calls}, {"holds"})
        self.assertEqual({call["request"] for call in calls}, {"FindValue"})
        listening.cancel()
        self.failureResultOf(listening)

    def test_nobody_listens(self) -> None:
        """Lookups are traced while somebody listens, and not before or after."""
        self.assertFalse(self.is_traced(self.reader))
        (_, first), (_, second) = self.listen(), self.listen()
        first.cancel()
        self.failureResultOf(first)
        self.assertTrue(self.is_traced(self.reader))
        second.cancel()
        self.failureResultOf(second)
        self.assertFalse(self.is_traced(self.reader))

    def test_joined_in_between(self) -> None:
        """A lookup that began before somebody listened ends as any other, and is not sent."""
        got = self.reader.node.get(KEY)
        listener, listening = self.listen()
        self.network.result(got)
        self.assertEqual(listener.of("lookup"), [])
        listening.cancel()
        self.failureResultOf(listening)

    def test_cancelled_lookup(self) -> None:
        """A lookup that is cancelled has ended: nothing of it is kept."""
        listener, listening = self.listen()
        lookup = self.reader.node.find_nodes(KEY)
        lookup.cancel()
        self.failureResultOf(lookup, CancelledError)
        self.network.wait(TELL_DELAY)
        self.assertEqual(len(listener.of("lookup")), 1)
        listening.cancel()
        self.failureResultOf(listening)

    def test_many(self) -> None:
        """Of many lookups only the first ones of each second are traced; the others run as if unwatched."""
        listener, listening = self.listen()
        began = self.now
        for _ in range(3 * LOOKUPS_PER_SECOND):
            self.get(self.reader)
        self.assertLess(self.now, began + 1 - TELL_DELAY)
        self.network.wait(TELL_DELAY)
        self.assertEqual(len(listener.of("lookup")), LOOKUPS_PER_SECOND)
        self.network.wait(1)
        self.get(self.reader)
        self.network.wait(TELL_DELAY)
        self.assertEqual(len(listener.of("lookup")), LOOKUPS_PER_SECOND + 1)
        listening.cancel()
        self.failureResultOf(listening)

    def test_slow_listener(self) -> None:
        """For a listener that does not take events only the newest are kept, and the newest state."""
        listener = Listener(self.feed.events())
        self.successResultOf(listener.take())
        self.assertEqual(listener.kinds, ["status", "peers"])
        while sum(self.reader.node.lookups_by_hops.values()) < MAX_PENDING_EVENTS:
            self.get(self.reader)
            self.network.wait(0.1)
        self.network.wait(5)
        listener.received.clear()
        taking = listener.take()
        self.network.wait(STATUS_INTERVAL)
        self.successResultOf(taking)
        self.assertEqual(listener.kinds[:2], ["status", "peers"])
        self.assertGreater(listener.of("status")[0]["at"], self.now - 2)
        self.assertEqual(len(listener.kinds), 2 + MAX_PENDING_EVENTS)
        self.assertEqual(set(listener.kinds[2:]), {"call", "lookup"})
        self.successResultOf(Deferred.fromCoroutine(close(listener.events)))

    def test_at_once(self) -> None:
        """What happens within a moment is told together."""
        listener, listening = self.listen()
        self.get(self.reader)
        self.network.wait(TELL_DELAY)
        self.assertIn("lookup", listener.kinds)
        self.assertEqual(listener.taken, [2, len(listener.received) - 2])
        listening.cancel()
        self.failureResultOf(listening)
