"""What a holder tells those that have a lease."""

from collections.abc import Sequence

from twisted.internet.task import Clock

from dht14.kademlia.contact import Contact
from dht14.node import notifier
from dht14.node.leases import LEASE_SECONDS, LEASES_PER_NODE, Lease, LeaseTable
from dht14.node.notifier import FEW_LEASES, NOTIFY_SPACING, Notifier
from dht14.node.observed_store import ObservedStore
from dht14.node.responder import Responder
from dht14.records.record import Record
from dht14.records.store import Refusal
from dht14.security.subnets import parties_of
from dht14.wire.messages import (
    NOTHING_HELD,
    Notify,
    Pong,
    Refused,
    Reply,
    Request,
    Watch,
    Watching,
    mark_of,
    view_of,
)
from tests.fakes import RpcRecorder, contact
from tests.node.responder_case import ASKER, NOW, VERSION, VERSIONS, ResponderTestCase

KEY = 5
PONG = Pong()
LEASE_MS = int(LEASE_SECONDS * 1000)


def mark(value: bytes, version: int = VERSION) -> bytes:
    return mark_of(version, Record(key=KEY, value=value, version=1, expires_at=0, replication=1).digest)


class NotifierTestCase(ResponderTestCase):
    """A holder whose calls the test answers."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.rpc = RpcRecorder()
        observed = ObservedStore(self.store)
        self.notifier = Notifier(self.node._neighbourhood, observed, LeaseTable(parties_of), self.clock)
        observed.observers.append(self.notifier.record_held)
        self.notifier.connect(self.rpc)
        self.node = Responder(
            self.node._neighbourhood, observed, 100, self.tickets, VERSIONS, notifier=self.notifier
        )

    def hold(self, value: bytes, version: int = VERSION) -> None:
        self.ask(self.store_request(KEY, value, version))

    def calls(self) -> list[tuple[Contact, Request]]:
        """The calls since the last look."""
        calls = [(to, request) for to, request, _ in self.rpc.calls[self.seen :]]
        self.seen = len(self.rpc.calls)
        return calls

    seen = 0

    def answer(self, reply: Reply = PONG) -> None:
        """Answer the last call."""
        to, _, observer = self.rpc.calls[-1]
        observer.call_answered(to, reply)


class WatchTests(NotifierTestCase):
    def test_lease(self) -> None:
        """The answer to a WATCH says how long the lease lasts, and what is held."""
        self.assertEqual(self.ask(Watch(KEY)), Watching(LEASE_MS, NOTHING_HELD))
        self.hold(b"value")
        self.assertEqual(self.ask(Watch(KEY)), Watching(LEASE_MS, mark(b"value")))
        self.assertEqual(self.notifier.leases, 1)
        self.assertEqual(self.ask(Watch(KEY, b"", False)), Watching(0, mark(b"value")))
        self.assertEqual(self.notifier.leases, 0)

    def test_group(self) -> None:
        """It names the members of the group that the watcher lacks."""
        known, missing = self.meet(KEY ^ 1, KEY ^ 2)
        reply = self.ask(Watch(KEY, view_of([known.node_id, OWN_ID])))
        self.assertEqual(reply, Watching(LEASE_MS, NOTHING_HELD, (missing,)))

    def test_too_many(self) -> None:
        """A node that asks for too many leases is refused, until it gives one back."""
        for key in range(LEASES_PER_NODE):
            self.assertIsInstance(self.ask(Watch(key)), Watching)
        self.assertEqual(self.ask(Watch(1 << 20)), Refused((), Refusal.SHARE))
        self.ask(Watch(0, b"", False))
        self.assertIsInstance(self.ask(Watch(1 << 20)), Watching)

    def test_far(self) -> None:
        """A node that is not near the key gives no lease, and names those that are."""
        self.meet(*(KEY ^ number for number in range(1, 20)))
        reply = self.ask(Watch(KEY))
        assert isinstance(reply, Refused)
        self.assertEqual((reply.reason, len(reply.nearer)), (Refusal.NOT_NEAR, 5))

    def test_bootstrap(self) -> None:
        """A node without values gives no lease."""
        self.assertEqual(self.ask(Watch(KEY), responder=self.bootstrap), Refused((), Refusal.NO_VALUES))

    def test_unasked(self) -> None:
        """A node refuses a NOTIFY that it did not ask for."""
        self.assertEqual(self.ask(Notify(KEY, NOTHING_HELD)), Refused((), Refusal.NOT_WATCHED))


OWN_ID = 1 << 200


class NotifyTests(NotifierTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ask(Watch(KEY))

    def test_change(self) -> None:
        """A watcher is told of a new record, at the address from which it asked."""
        self.hold(b"value")
        self.assertEqual(self.calls(), [(ASKER, Notify(KEY, mark(b"value")))])

    def test_same(self) -> None:
        """The same record once more, and one of another key, are no change."""
        self.hold(b"value")
        self.answer()
        self.calls()
        self.hold(b"value")
        self.ask(self.store_request(6))
        self.clock.advance(1)
        self.assertEqual(self.calls(), [])

    def test_coalesced(self) -> None:
        """What changes while a NOTIFY is under way, and shortly afterwards, becomes one NOTIFY."""
        self.hold(b"0", VERSION)
        for number in range(1, 5):
            self.hold(b"%d" % number, VERSION + number)
        self.assertEqual(len(self.calls()), 1)
        self.answer()
        self.hold(b"5", VERSION + 5)
        self.assertEqual(self.calls(), [])
        self.clock.advance(NOTIFY_SPACING)
        self.assertEqual(self.calls(), [(ASKER, Notify(KEY, mark(b"5", VERSION + 5)))])
        self.answer()
        self.clock.advance(1)
        self.assertEqual(self.calls(), [])

    def test_ended(self) -> None:
        """Nobody is told whose lease has ended."""
        self.clock.advance(LEASE_SECONDS)
        self.hold(b"value")
        self.assertEqual(self.calls(), [])

    def test_refused(self) -> None:
        """A watcher that does not want it, or does not answer, loses its lease."""
        for end in (
            lambda: self.answer(Refused((), Refusal.NOT_WATCHED)),
            lambda: self.rpc.calls[-1][2].call_failed(ASKER),
        ):
            self.ask(Watch(KEY))
            version = VERSION + len(self.rpc.calls)
            self.hold(b"%d" % version, version)
            self.assertEqual(len(self.calls()), 1)
            end()
            self.assertEqual(self.notifier.leases, 0)

    def test_many(self) -> None:
        """With many watchers the NOTIFYs are spread, and none is left out."""
        self.patch(notifier, "NOTIFY_BURST", 10.0)
        watchers = [contact(number << 210, number) for number in range(1, 301)]
        for watcher in watchers:
            self.ask(Watch(KEY), asker=watcher)
        self.hold(b"value")
        self.assertLess(len(self.rpc.calls), 300)
        self.clock.pump([0.02] * 20)
        told = {to.node_id for to, _ in self.calls()}
        self.assertEqual(told, {ASKER.node_id, *(watcher.node_id for watcher in watchers)})

    def test_written_often(self) -> None:
        """Many watchers are not looked through for each write: they hear of the last of several."""
        for number in range(1, FEW_LEASES + 1):
            self.ask(Watch(KEY), asker=contact(number << 210, number))
        looks: list[int] = []
        usual = self.notifier._leases.of_key

        def counted(table: LeaseTable, key: int, now: float) -> Sequence[Lease]:
            looks.append(key)
            return usual(key, now)

        self.patch(LeaseTable, "of_key", counted)
        for number in range(50):
            self.hold(b"%d" % number, VERSION + number)
        self.assertEqual(looks, [KEY])
        self.assertEqual(len(self.calls()), FEW_LEASES + 1)
        for to, _, observer in list(self.rpc.calls):
            observer.call_answered(to, PONG)
        self.clock.pump([NOTIFY_SPACING / 2] * 4)
        self.assertEqual({request for _, request in self.calls()}, {Notify(KEY, mark(b"49", VERSION + 49))})
        self.assertEqual(looks, [KEY, KEY])

    def test_stop(self) -> None:
        """A node that has stopped tells nobody, and leaves no timer."""
        self.hold(b"1")
        self.answer()
        self.calls()
        self.notifier.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hold(b"2", VERSION + 1)
        self.assertEqual(self.calls(), [])
