from attrs import evolve
from twisted.internet.defer import Deferred, FirstError, fail

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.maintenance.read_repair import READ_REPAIR_SPACING, ReadRepair
from dht14.records.record import Record
from dht14.wire.messages import Offer, Reply, Store
from tests.fakes import FakeRpc, Peer
from tests.node.holders import HoldersTestCase
from tests.told import value_of

CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)


class ReadRepairTests(HoldersTestCase):
    """Node 9 reads; the holders of the key 0 are 1, 2 and 3."""

    def setUp(self) -> None:
        super().setUp()
        self.reader = self.cluster[8]
        self.repairs(self.reader)

    def repairs(self, peer: Peer) -> None:
        """Give this node read repair."""
        rpc = FakeRpc(self.network, peer.contact, peer.table, peer.time)
        peer.node._reader._observer = ReadRepair(
            peer.node.neighbourhood, rpc, self.copies(peer), self.network.clock
        )

    def read(self, record: Record) -> None:
        """A GET returns the value; then its repairs run."""
        self.assertEqual(value_of(self.network.result(self.reader.node.get(record.key))), record.value)
        self.network.wait(1)

    def test_lacking(self) -> None:
        """After a GET the holders that lacked the value have it, with the same expiry; no other node has."""
        record = self.record()
        self.give(record, self.cluster[1])
        self.read(record)
        self.assertEqual(self.holders(record), [1, 2, 3])
        held = self.one.store.get(0, self.network.clock.seconds())  # type: ignore[union-attr]
        assert held is not None
        self.assertLess(abs(held.expires_at - record.expires_at), 0.1)
        self.assertEqual((held.version, held.replication), (record.version, 3))

    def test_older(self) -> None:
        """After a GET the holders of an older value have the newer one."""
        older = self.record()
        newer = evolve(older, version=older.version + 1, value=b"newer")
        self.give(older, self.one)
        self.give(newer, self.cluster[1], self.cluster[2])
        self.read(newer)
        self.assertEqual(self.holders(newer), [1, 2, 3])

    def test_own_copy(self) -> None:
        """A holder that reads keeps what it has read."""
        record = self.record()
        self.give(record, self.cluster[1])
        self.repairs(self.one)
        value_of(self.network.result(self.one.node.get(0)))
        self.assertIn(1, self.holders(record))

    def test_well(self) -> None:
        """If all holders have it nothing is sent."""
        record = self.record()
        self.give(record, *self.cluster[:3])
        self.read(record)
        self.assertEqual((self.asked(Offer), self.asked(Store)), (0, 0))

    def test_fails(self) -> None:
        """A bug in read repair is logged; the GET is not affected."""

        def fails(contact: Contact, record: Record, neighbours: int) -> "Deferred[Reply]":
            return fail(ZeroDivisionError())

        repair = self.reader.node._reader._observer
        assert isinstance(repair, ReadRepair)
        repair._replicator._send_copy = fails
        record = self.record()
        self.give(record, self.cluster[1])
        self.read(record)
        self.assertEqual(len(self.flushLoggedErrors(FirstError)), 2)

    def test_spacing(self) -> None:
        """A holder that refuses a value is offered it at most once a minute."""
        record = self.record()
        self.give(record, self.cluster[1])
        assert self.one.store is not None
        self.one.store.limit = 0
        offers = []
        for wait in (0, READ_REPAIR_SPACING / 2, READ_REPAIR_SPACING / 2):
            self.network.wait(wait)
            self.read(record)
            offers.append(sum(isinstance(request, Offer) for request in self.one.asked))
        self.assertEqual(offers, [1, 1, 2])

    def test_not_found(self) -> None:
        """If nothing is found nothing is sent."""
        self.assertIsNone(value_of(self.network.result(self.reader.node.get(0))))
        self.network.wait(1)
        self.assertEqual((self.asked(Offer), self.asked(Store)), (0, 0))


class CacheTests(HoldersTestCase):
    """A network of 12 nodes around the key of content, which the nearest 8 hold; lookups lead the reader
    there."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster = self.network.cluster(*(CONTENT_KEY ^ n for n in range(1, 13)))
        self.reader = self.network.peer(CONTENT_KEY ^ (1 << 255))
        rpc = FakeRpc(self.network, self.reader.contact, self.reader.table, self.reader.time)
        self.reader.node._reader._observer = ReadRepair(
            self.reader.node.neighbourhood, rpc, self.copies(self.reader), self.network.clock
        )
        for peer in self.cluster[8:]:
            self.reader.table.confirmed(peer.contact, self.network.clock.seconds(), 0.01)

    def copies_after_get(self, record: Record) -> list[tuple[int, bool]]:
        """The nodes that have a copy, by distance from the key, and whether it is cached."""
        self.give(record, *self.cluster[:8])
        self.assertEqual(value_of(self.network.result(self.reader.node.get(record.key))), record.value)
        self.network.wait(1)
        now = self.network.clock.seconds()
        held = [(peer, peer.store.get(record.key, now)) for peer in self.cluster if peer.store is not None]
        return [(p.contact.node_id ^ record.key, h.is_cached) for p, h in held if h is not None]

    def test_content(self) -> None:
        """The nearest node on the way that does not hold the content caches a copy, for a limited time."""
        copies = self.copies_after_get(self.record(CONTENT_KEY, CONTENT, copies=8))
        self.assertEqual(copies, [*((n, False) for n in range(1, 9)), (9, True)])

    def test_open(self) -> None:
        """Open values are not cached: the copies would be read after a change."""
        copies = self.copies_after_get(self.record(CONTENT_KEY ^ (1 << 20), b"open", copies=8))
        self.assertEqual({is_cached for _, is_cached in copies}, {False})
        self.assertEqual(len(copies), 8)

    def test_cached_copy_read(self) -> None:
        """A value that was read from a cached copy makes no further copies."""
        record = self.record(CONTENT_KEY, CONTENT, copies=0)
        self.give(record, self.cluster[8])
        self.assertEqual(value_of(self.network.result(self.reader.node.get(CONTENT_KEY))), CONTENT)
        self.network.wait(1)
        self.assertEqual(self.holders(record), [self.cluster[8].contact.node_id])
