from itertools import permutations

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.storage.ballot import READ_QUORUM, Ballot
from dht14.storage.claim import Claim
from dht14.storage.record import Record
from tests.owners import Owner


def record(value: bytes = b"v", version: int = 1, key: int = 5) -> Record:
    return Record(key, value, version, 1000.0, 8)


def ballot(*records: Record) -> Ballot:
    ballot = Ballot()
    for one in records:
        ballot.cast(one, near=True)
    return ballot


def claim(of: Record) -> Claim:
    return Claim(of.key, of.version, of.expires_at, of.replication, of.is_owned, len(of.value), of.digest)


class ClaimTests(SynchronousTestCase):
    """Records that are told of without their values."""

    def test_quorum(self) -> None:
        """A claim counts like the record, whether that was seen or not; the record is what has won then."""
        one = Ballot()
        for found in (claim(record()), record(), claim(record())):
            one.cast(found, near=True)
        self.assertEqual((one.winner, one.settled), (record(), True))

    def test_content(self) -> None:
        """The claim of content settles nothing by itself."""
        value = bytes(2_000)
        content = record(value, key=hash_id(value))
        one = Ballot()
        one.cast(claim(content), near=True)
        self.assertEqual((one.winner, one.missing), (claim(content), READ_QUORUM - 1))
        one.cast(content, near=False)
        self.assertEqual((one.winner, one.settled), (content, True))

    def test_struck_out(self) -> None:
        """Where the winner is not to be had the next best has won, in the end nobody."""
        one = ballot(record(version=1), record(version=3))
        one.cast(claim(record(version=2)), near=True)
        winners = []
        for _ in range(5):
            winners.append(one.winner)
            one.strike_out()
        self.assertEqual(winners, [record(version=3), claim(record(version=2)), record(), None, None])


class BallotTests(SynchronousTestCase):
    def test_empty(self) -> None:
        """Before anybody was heard nobody has won and nothing is settled."""
        self.assertEqual((ballot().winner, ballot().settled), (None, False))
        self.assertEqual(ballot().missing, READ_QUORUM)

    def test_quorum(self) -> None:
        """It is settled when so many holders have the newest; what is missing until then counts down."""
        for votes in range(1, READ_QUORUM + 2):
            one = ballot(*[record()] * votes)
            self.assertEqual((one.settled, one.missing), (votes >= READ_QUORUM, READ_QUORUM - votes))

    def test_newer(self) -> None:
        """A newer record begins anew, and votes for older ones count no more, before or after."""
        one = ballot(record(), record(), record(version=2), record(), record())
        self.assertEqual((one.winner, one.settled, one.missing), (record(version=2), False, READ_QUORUM - 1))

    def test_strays(self) -> None:
        """A copy far from the key shows what there is, but settles nothing; content it does."""
        strays, content = Ballot(), Ballot()
        for _ in range(READ_QUORUM + 1):
            strays.cast(record(), near=False)
        self.assertEqual((strays.winner, strays.missing), (record(), READ_QUORUM))
        content.cast(record(b"content", 0, hash_id(b"content")), near=False)
        self.assertTrue(content.settled)

    def test_same_moment(self) -> None:
        """Two values of the same version do not vote for each other."""
        one = ballot(record(b"x"), record(b"y"), record(b"x"), record(b"y"))
        self.assertFalse(one.settled)

    def test_content(self) -> None:
        """Content proves itself: one holder is enough, and nothing beats it."""
        content = record(b"content", 0, hash_id(b"content"))
        one = ballot(record(b"lie", 1 << 60, content.key), content, record(b"lie", 1 << 61, content.key))
        self.assertEqual((one.winner, one.settled, one.missing), (content, True, 0))

    def test_owner(self) -> None:
        """An owner's record is real, but may be an old one: it takes holders that agree, like any other."""
        owner = Owner(1)
        one = ballot(owner.record(b"old", 1, 1000.0), record(version=1 << 60, key=owner.key))
        self.assertEqual((one.winner, one.missing), (owner.record(b"old", 1, 1000.0), READ_QUORUM - 1))
        for missing in (2, 1, 0):
            one.cast(owner.record(b"new", 2, 1000.0), near=True)
            self.assertEqual((one.missing, one.settled), (missing, missing == 0))

    def test_larger_quorum(self) -> None:
        """A reader may ask for more that agree."""
        one = Ballot(5)
        for missing in (4, 3, 2, 1):
            one.cast(record(), near=True)
            self.assertEqual((one.missing, one.settled), (missing, False))
        one.cast(record(version=2), near=True)
        self.assertEqual(one.missing, 4)

    def test_any_order(self) -> None:
        """Whoever is heard first, the same record wins with as many votes."""
        votes = [record(), record(), record(version=2), record(version=2, value=b"w"), record(version=2)]
        outcomes = {(ballot(*order).winner, ballot(*order).missing) for order in permutations(votes)}
        self.assertEqual(len(outcomes), 1)
