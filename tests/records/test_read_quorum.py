from itertools import permutations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import ReadQuorum
from dht14.records.record import Kind, Record
from dht14.records.version_floors import Floor
from tests.owners import Owner

CONTENT = bytes(2_000)


def record(value: bytes = b"v", version: int = 1, key: int = 5) -> Record:
    return Record(key=key, value=value, version=version, expires_at=1000.0, replication=8)


def claim(of: Record) -> AdvertisedRecord:
    return AdvertisedRecord(
        key=of.key,
        version=of.version,
        expires_at=of.expires_at,
        replication=of.replication,
        owned=of.is_owned,
        length=len(of.value),
        digest=of.digest,
    )


def heard(*found: Record | AdvertisedRecord) -> ReadQuorum:
    """The nodes 0, 1, 2 and so on answered with these."""
    quorum = ReadQuorum()
    for holder, one in enumerate(found):
        quorum.add(one, holder)
    return quorum


class ReadQuorumTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        """Before the first answer there is no record and no holder, and nothing is proven."""
        quorum = ReadQuorum()
        self.assertIsNone(quorum.best)
        self.assertIsNone(quorum.best_record)
        self.assertNotIn(0, quorum.holders)
        self.assertFalse(quorum.is_proven)

    def test_greatest(self) -> None:
        """The greatest record wins in any order, and its holders are the nodes that have it."""
        owner = Owner(1)
        records = [record(version=1), record(version=2), record(b"w", 2), owner.record(b"x", 1, 1000.0)]
        for order in permutations(records):
            quorum = heard(*order)
            self.assertEqual(quorum.best, records[3])
            self.assertEqual([i in quorum.holders for i in range(4)], [one is records[3] for one in order])

    def test_copy_in(self) -> None:
        """The greatest record is known by its value and version; another value or version is another record,
        and a record that has expired since is none."""
        quorum = heard(record(b"v", 1), record(b"w", 2))
        self.assertEqual(quorum.copy_in(b"w", 2), record(b"w", 2))
        for value, version in ((b"v", 1), (b"w", 1), (b"x", 2)):
            self.assertIsNone(quorum.copy_in(value, version))
        for witness in (7, 8):
            quorum.reported_expired(Floor(Kind.OPEN, 2), witness)
        self.assertIsNone(quorum.copy_in(b"w", 2))

    def test_copies(self) -> None:
        """Of the copies of a record the later end and the greater number of copies count, in any order; an
        advertisement counts beside a value as well."""
        copies = [
            evolve(record(), expires_at=900.0, replication=3),
            evolve(record(), expires_at=0.001, replication=8),
            evolve(record(), expires_at=500.0, replication=0),
        ]
        for order in permutations(copies):
            best = heard(*order).best_record
            assert best is not None
            self.assertEqual((best.expires_at, best.replication), (900.0, 8))
        mixed = heard(claim(copies[0]), copies[1]).best
        assert isinstance(mixed, Record)
        self.assertEqual((mixed.expires_at, mixed.replication), (900.0, 8))
        claimed = heard(claim(copies[1]), claim(copies[0])).best
        assert claimed is not None
        self.assertEqual((claimed.expires_at, claimed.replication), (900.0, 8))

    def test_holders(self) -> None:
        """Nodes whose answer does not count show that a record exists, but are no holders of it."""
        quorum = heard(record(), record())
        quorum.add(record(version=2), None)
        self.assertEqual(quorum.best, record(version=2))
        self.assertNotIn(0, quorum.holders)
        quorum.add(record(version=2), 7)
        self.assertIn(7, quorum.holders)

    def test_lapsed(self) -> None:
        """A record does not count if more nodes, and two at least, report its expiry than hold it; newer
        records and content do."""
        for witnesses, stands in ((1, True), (2, True), (3, False)):
            quorum = heard(record(version=5), record(version=5))
            for witness in range(witnesses):
                quorum.reported_expired(Floor(Kind.OPEN, 6 + witness), 10 + witness)
            self.assertIs(quorum.best is not None, stands, witnesses)
            self.assertEqual(quorum.best, quorum.best_record)
            self.assertIs(1 in quorum.holders, stands)
        quorum.add(claim(record(version=6)), 2)
        self.assertEqual(quorum.advertised_above(None), [])
        quorum.add(record(version=8), 3)
        self.assertEqual(quorum.best, record(version=8))
        quorum = heard(record(version=1 << 60))
        for witness in (10, 11):
            quorum.reported_expired(Floor(Kind.OWNER, 1), witness)
        self.assertIsNone(quorum.best, "an owner's record had replaced what anybody wrote")
        content = record(CONTENT, 0, hash_id(CONTENT))
        quorum.add(content, 2)
        self.assertEqual(quorum.best, content)

    def test_renewed(self) -> None:
        """Nodes that were away when a record was renewed have seen the end of its life before. That does not
        count against two that have it; it does against one alone, whose clock may have stood still."""
        for holders, stands in ((2, True), (1, False)):
            quorum = heard(*[record(version=5)] * holders)
            for witness in range(10, 13):
                quorum.reported_expired(Floor(Kind.OPEN, 5), witness)
            self.assertIs(quorum.best is not None, stands)
            self.assertIs(quorum.is_contested(0), False)
            self.assertIs(quorum.is_contested(1), not stands)

    def test_no_word(self) -> None:
        """A copy on nodes that have missed writes does not count if two others report its expiry."""
        quorum = ReadQuorum()
        quorum.add(record(), None)
        quorum.reported_expired(Floor(Kind.OPEN, 1), 10)
        self.assertEqual(quorum.best, record())
        quorum.reported_expired(Floor(Kind.OPEN, 1), 11)
        self.assertIsNone(quorum.best)

    def test_content(self) -> None:
        """Content proves itself; an advertised record of it does not."""
        content = record(CONTENT, key=hash_id(CONTENT))
        quorum = heard(claim(content))
        self.assertFalse(quorum.is_proven)
        quorum.add(content, 3)
        self.assertTrue(quorum.is_proven)
        self.assertTrue(0 in quorum.holders and 3 in quorum.holders)

    def test_claim_and_record(self) -> None:
        """A record replaces the advertised record of its rank, in either order."""
        found: tuple[Record | AdvertisedRecord, ...] = (claim(record()), record())
        for order in permutations(found):
            self.assertEqual(heard(*order).best, record())

    def test_advertised_above(self) -> None:
        """Advertised records that are greater than the best received one are listed, the greatest first."""
        quorum = heard(*(claim(record(version=v)) for v in (1, 4, 3)), record(version=2))
        self.assertEqual(quorum.best_record, record(version=2))
        above = quorum.advertised_above(quorum.best_record)
        self.assertEqual(above, [claim(record(version=4)), claim(record(version=3))])
        self.assertEqual(len(quorum.advertised_above(None)), 3)
