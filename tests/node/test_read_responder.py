from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_INLINE_VALUE, K
from dht14.node.responder import Responder
from dht14.records.record import Kind, Record
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import (
    FindNode,
    FindValue,
    Lapsed,
    Nodes,
    Pong,
    Reply,
    Resynced,
    Stored,
    Value,
    view_of,
)
from tests.fakes import contact
from tests.node.responder_case import (
    ASKER,
    NOW,
    OWN,
    VERSION,
    VERSIONS,
    ResponderTestCase,
)


@define
class ReplacingStore(MemoryStore):
    """A store that has a greater record than this one, on its way to the disk."""

    replaced: Record | None = field(default=None, init=False)

    def is_replacing(self, record: Record) -> bool:
        return record == self.replaced


class ReadTests(ResponderTestCase):
    def test_find_node(self) -> None:
        """FIND_NODE is answered with the k nearest known, nearest first, without the asker."""
        met = self.meet(*range(1, 40))
        self.table.confirmed(ASKER, NOW, 0.01)
        target = ASKER.node_id
        for responder in (self.node, self.bootstrap):
            reply = self.ask(FindNode(target), responder=responder)
            assert isinstance(reply, Nodes)
            nearest = sorted(met, key=lambda c: c.node_id ^ target)[:K]
            self.assertEqual(list(reply.contacts), nearest)

    def test_nobody_known(self) -> None:
        """A node without contacts names none."""
        self.assertEqual(self.ask(FindNode(1)), Nodes(()))
        self.assertEqual(self.ask(FindValue(1)), Nodes(()))

    def test_suspects(self) -> None:
        """Contacts whose last call failed are not named."""
        dead, alive = self.meet(1, 2)
        self.table.failed(dead, NOW)
        self.assertEqual(self.ask(FindNode(0)), Nodes((alive,)))

    def test_find_value(self) -> None:
        """FIND_VALUE is answered with the record and the milliseconds it still has to live."""
        self.store.offer(
            Record(key=7, value=b"value", version=VERSION, expires_at=NOW + 12.5, replication=4),
            NOW,
            lambda verdict: None,
        )
        self.assertEqual(self.ask(FindValue(7)), Value(VERSION, 12_500, 4, True, b"value"))

    def test_lapsed(self) -> None:
        """Where the record has expired, FIND_VALUE is answered with what is not to come back, and
        contacts."""
        near = self.meet(8)
        self.store.offer(
            Record(key=7, value=b"value", version=VERSION, expires_at=NOW - 1 + 5, replication=4),
            NOW - 10,
            lambda verdict: None,
        )
        replies: list[Reply] = []
        self.node.answer(FindValue(7), ASKER, NOW + 5, replies.append)
        self.assertEqual(replies, [Lapsed(tuple(near), Kind.OPEN, VERSION)])
        # Nor does the node forget it when it holds no record at all any more.
        self.store.expire(NOW + 5)
        self.assertEqual(len(self.store), 0)
        self.node.answer(FindValue(7), ASKER, NOW + 5, replies.append)
        self.assertEqual(replies[1:], replies[:1])

    def test_current(self) -> None:
        """A holder says whether it has missed writes, until the others have brought them; so do its
        receipts."""
        self.ask(self.store_request(0))
        self.node._resync_state.missed_writes((5, 6), NOW)
        for sender, current in ((5, False), (6, True)):
            reply, receipt = self.ask(FindValue(0)), self.ask(self.store_request(7))
            assert isinstance(reply, Value) and isinstance(receipt, Stored)
            self.assertEqual((reply.current, receipt.current), (False, False))
            self.assertIsInstance(self.ask(Resynced(), contact(sender, sender)), Pong)
            self.assertIs(self.node._resync_state.is_current, current)

    def test_replaced(self) -> None:
        """A holder says that its copy does not count while a greater record waits for the disk. Its other
        copies count."""
        store = ReplacingStore(OWN, 100_000, lambda record: True)
        node = Responder(Neighbourhood(self.table), store, 100, self.tickets, VERSIONS)
        for key, current in ((0, True), (7, False)):
            self.ask(self.store_request(key), responder=node)
            store.replaced = None if current else store.get(key, NOW)
            reply = self.ask(FindValue(key), responder=node)
            assert isinstance(reply, Value)
            self.assertIs(reply.current, current)

    def test_nearer(self) -> None:
        """A holder names the nodes of its group that the asker does not know, the nearest first."""
        met = self.meet(*range(1, 7))
        self.ask(self.store_request(0))
        for known, expected in (
            ((1, 2, 3, 4, 5), ()),
            ((1, 2, 4, 5), (met[2],)),
            ((), tuple(met[:5])),
            ((1, 2, 3, 4, OWN), (met[4],)),
        ):
            reply = self.ask(FindValue(0, view_of(known)))
            assert isinstance(reply, Value)
            self.assertEqual(reply.nearer, expected, known)
        self.assertEqual(self.value_for(met[2], (1, 2, 4, 5)).nearer, (), "not the asker itself")

    def value_for(self, asker: Contact, known: tuple[int, ...]) -> Value:
        reply = self.ask(FindValue(0, view_of(known)), asker)
        assert isinstance(reply, Value)
        return reply

    def test_nearer_that_fit(self) -> None:
        """Beside a value of the greatest length one of them is named: it knows the others."""
        met = self.meet(*range(1, 7))
        self.ask(self.store_request(0, bytes(MAX_INLINE_VALUE)))
        reply = self.ask(FindValue(0))
        assert isinstance(reply, Value)
        self.assertEqual(reply.nearer, tuple(met[:1]))

    def test_expired(self) -> None:
        """A record that has expired is not there any more, nor is one with no whole millisecond left."""
        self.meet(1)
        near = (contact(1, 1),)
        lapsed = Lapsed(near, Kind.OPEN, VERSION - 1)
        for key, expires_at, reply in ((7, NOW + 0.0004, Nodes(near)), (8, NOW, lapsed)):
            self.store.offer(
                Record(key=key, value=b"value", version=VERSION - 1, expires_at=expires_at, replication=4),
                NOW - 10,
                lambda verdict: None,
            )
            self.assertEqual(self.ask(FindValue(key)), reply)

    def test_bootstrap_values(self) -> None:
        """A bootstrap node answers FIND_VALUE with contacts."""
        self.meet(1)
        self.assertEqual(
            self.ask(FindValue(7), responder=self.bootstrap), Nodes((contact(1, 1),), holds_values=False)
        )
