"""The verdicts on gets."""

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.records.receipt import PutOutcome, Receipt
from dht14.records.record import Kind
from dht14.sim.availability import Availability
from dht14.sim.history import AGREEMENT_SECONDS, EXPIRY_TOLERANCE, History
from dht14.sim.operations import GetVerdict, PutResponse, Write
from tests.owners import Owner

KEY = 7
OWNER = Owner(1)
CONTENT = hash_id(b"content")


class HistoryTestCase(SynchronousTestCase):
    key = KEY

    def setUp(self) -> None:
        self.history = History()

    def write(
        self,
        value: bytes,
        invoked_at: float,
        responded_at: float = inf,
        response: PutResponse = PutResponse.STORED,
        ttl: float = 1000.0,
        copies: int = 8,
    ) -> Write:
        write = self.history.put_invoked(self.key, value, ttl, invoked_at, copies)
        if responded_at < inf:
            self.history.put_responded(write, response, responded_at)
        return write

    def judge(self, found: bytes | None, invoked_at: float, responded_at: float | None = None) -> str:
        return self.history.get_responded(
            self.key, found, invoked_at, invoked_at + 1 if responded_at is None else responded_at
        ).verdict.value


class OpenTests(HistoryTestCase):
    """Every client may write; the last put wins."""

    def test_right(self) -> None:
        """The acknowledged value is right, nothing is lost, and other bytes are forged."""
        self.assertEqual(self.judge(None, 0), "right")
        self.write(b"a", 1, 2)
        self.assertEqual(self.judge(b"a", 3), "right")
        self.assertEqual(self.judge(None, 3), "lost")
        self.assertEqual(self.judge(b"b", 3), "forged")

    def test_forged(self) -> None:
        """A value that was not put yet, or was put under another key, is forged."""
        self.write(b"a", 10, 11)
        self.assertEqual(self.judge(b"a", 5), "forged")
        self.assertEqual(self.history.get_responded(KEY + 1, b"a", 12, 13).verdict, GetVerdict.FORGED)

    def test_no_time(self) -> None:
        """A put whose response comes at the instant of its invocation does not replace itself."""
        self.write(b"a", 1, 1)
        self.assertEqual(self.judge(b"a", 2), "right")

    def test_meanwhile(self) -> None:
        """During a put both the value before it and its own value are right."""
        self.write(b"a", 1, 2)
        self.write(b"b", 10, 12)
        for found in (b"a", b"b"):
            self.assertEqual(self.judge(found, 9, 11), "right")
            self.assertEqual(self.judge(found, 11), "right")
        self.assertEqual(self.judge(b"b", 12), "right")
        self.assertEqual(self.judge(b"a", 12), "stale")
        self.assertEqual(self.judge(None, 9, 11), "lost")

    def test_failed(self) -> None:
        """A get may or may not return the value of a put that failed or never ended."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 4, PutResponse.FAILED)
        self.write(b"c", 5)
        for found in (b"a", b"b", b"c"):
            self.assertEqual(self.judge(found, 6), "right")
        self.assertEqual(self.judge(None, 6), "lost")

    def test_superseded(self) -> None:
        """A get may or may not return the value of a superseded put, but never one that both puts have
        replaced."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 6, PutResponse.SUPERSEDED)
        self.write(b"c", 4, 7, PutResponse.FAILED)
        self.assertEqual([self.judge(found, 8) for found in (b"b", b"c")], ["right", "right"])
        self.assertEqual([self.judge(found, 8) for found in (b"a", None)], ["stale", "lost"])

    def test_superseded_by_nobody(self) -> None:
        """A put that was superseded by an earlier one does not make the earlier value right."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 4, PutResponse.SUPERSEDED)
        self.assertEqual([self.judge(found, 5) for found in (b"b", b"a")], ["right", "stale"])

    def test_at_once(self) -> None:
        """Of two concurrent puts either may win."""
        self.write(b"a", 1, 4)
        self.write(b"b", 2, 3)
        self.assertEqual((self.judge(b"a", 5), self.judge(b"b", 5)), ("right", "right"))

    def test_again(self) -> None:
        """A value that was put twice is as new as its second put."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 4)
        self.write(b"a", 5, 6)
        self.assertEqual((self.judge(b"a", 7), self.judge(b"b", 7)), ("right", "stale"))

    def test_expired(self) -> None:
        """A value is right until it expires, and a moment longer, and never after that."""
        self.write(b"a", 0, 1, ttl=60)
        self.assertEqual(self.judge(b"a", 59), "right")
        self.assertEqual(self.judge(b"a", 60 + EXPIRY_TOLERANCE), "right")
        self.assertEqual(self.judge(b"a", 60.1 + EXPIRY_TOLERANCE), "expired")
        self.assertEqual(self.judge(None, 61), "right")
        self.assertEqual(self.judge(None, 10), "lost")

    def test_does_not_return(self) -> None:
        """When a newer value with a shorter ttl has expired, the older one is not right; nothing is."""
        self.write(b"a", 0, 1)
        self.write(b"b", 2, 3, ttl=60)
        self.assertEqual((self.judge(b"a", 100), self.judge(None, 100)), ("stale", "right"))

    def test_later_puts(self) -> None:
        """A put that is invoked after a get does not change the verdict on the get."""
        self.write(b"a", 0, 1)
        self.write(b"b", 10, 11, ttl=60)
        self.assertEqual((self.judge(None, 2, 3), self.judge(b"a", 2, 3)), ("lost", "right"))

    def test_returned(self) -> None:
        """A get may return the value before a running put after an earlier get returned that put: it is
        counted."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3)
        for invoked_at, found, returned in ((10, b"a", 0), (20, b"b", 0), (30, b"a", 1)):
            self.assertEqual(self.judge(found, invoked_at), "right")
            self.assertEqual(self.history.returned, returned)


class OwnerTests(HistoryTestCase):
    """Only the owner may write; the greatest of its numbers wins."""

    key = OWNER.key

    def test_in_order(self) -> None:
        """Numbers decide, not times: an acknowledged put of an older number replaces nothing."""
        new, old = OWNER.says(b"new", 2), OWNER.says(b"old", 1)
        self.write(new, 1, 2)
        self.write(old, 3, 4)
        self.assertEqual((self.judge(new, 5), self.judge(old, 5)), ("right", "stale"))

    def test_meanwhile(self) -> None:
        """Until a put is acknowledged the older record is right; nothing is lost."""
        old, new = OWNER.says(b"old", 1), OWNER.says(b"new", 2)
        self.write(old, 1, 2)
        self.write(new, 3, 9)
        self.assertEqual([self.judge(found, 4) for found in (old, new, None)], ["right", "right", "lost"])
        self.assertEqual([self.judge(found, 9) for found in (old, new, None)], ["stale", "right", "lost"])

    def test_same_number(self) -> None:
        """Of two records of one number either may win."""
        for value in (values := [OWNER.says(b"%d" % device, 1) for device in range(2)]):
            self.write(value, 1, 2)
        self.assertEqual([self.judge(value, 3) for value in values], ["right", "right"])

    def test_deleted(self) -> None:
        """After a deletion only nothing is right."""
        old, gone, new = OWNER.says(b"old", 1), OWNER.says(b"", 2), OWNER.says(b"new", 3)
        self.write(old, 1, 2)
        self.write(gone, 3, 4)
        self.assertEqual((self.judge(None, 5), self.judge(old, 5)), ("right", "stale"))
        self.write(new, 6, 7)
        self.assertEqual([self.judge(found, 8) for found in (new, None, old)], ["right", "lost", "stale"])

    def test_deletion_failed(self) -> None:
        """While a deletion runs, or after it has failed, both are right."""
        old = OWNER.says(b"old", 1)
        self.write(old, 1, 2)
        self.write(OWNER.says(b"", 2), 3, 4, PutResponse.FAILED)
        self.assertEqual((self.judge(None, 5), self.judge(old, 5)), ("right", "right"))

    def test_not_the_owner(self) -> None:
        """A value without the owner's signature is forged once a record of the owner is acknowledged."""
        mine, theirs = OWNER.says(b"mine", 1), Owner(2).says(b"theirs", 9)
        self.write(b"open", 1, 2)
        self.assertEqual(self.judge(b"open", 3), "right")
        self.write(mine, 4, 5)
        self.write(b"junk", 6, 7, PutResponse.FAILED)
        self.write(theirs, 6, 7, PutResponse.FAILED)
        self.assertEqual(
            [self.judge(found, 8) for found in (mine, b"open", b"junk", theirs)],
            ["right", "forged", "forged", "forged"],
        )


class ContentTests(HistoryTestCase):
    """No client can change it."""

    key = CONTENT

    def test_immutable(self) -> None:
        """A get returns only the content, whatever was put later, until it expires."""
        self.write(b"content", 1, 2)
        self.write(b"junk", 3, 4, PutResponse.FAILED)
        self.assertEqual(
            [self.judge(found, 5) for found in (b"content", b"junk", None)], ["right", "forged", "lost"]
        )

    def test_after_it(self) -> None:
        """After its expiry other values are right under its key, until it is put again."""
        self.write(b"content", 1, 2, ttl=60)
        self.write(b"junk", 3, 4, PutResponse.FAILED)
        self.write(b"more junk", 65, 66)
        for found, at, verdict in (
            (b"junk", 50, "forged"),
            (b"junk", 62, "right"),
            (b"more junk", 70, "right"),
        ):
            self.assertEqual(self.judge(found, at), verdict)
        self.write(b"content", 71, 72)
        self.assertEqual([self.judge(found, 73) for found in (b"junk", b"content")], ["forged", "right"])

    def test_shorter(self) -> None:
        """A second put with a shorter ttl does not shorten its life."""
        self.write(b"content", 1, 2)
        self.write(b"content", 3, 4, ttl=60)
        self.assertEqual((self.judge(b"content", 100), self.judge(None, 100)), ("right", "lost"))

    def test_longer(self) -> None:
        """A second put with a longer ttl prolongs its life, but not beyond that."""
        self.write(b"content", 1, 2, ttl=60)
        self.write(b"content", 3, 4, ttl=100)
        self.assertEqual([self.judge(b"content", at) for at in (90, 106)], ["right", "expired"])
        self.assertEqual([self.judge(None, at) for at in (90, 106)], ["lost", "right"])


class AvailabilityTests(HistoryTestCase):
    """Promises while nodes die, or are hostile."""

    def setUp(self) -> None:
        super().setUp()
        self.nodes = [KEY ^ 1 << bit for bit in range(20)]  # The nearest first.
        for node in self.nodes:
            self.history.availability.came_up(node, 0)

    def kill(self, *ranks: int, at: float = 5) -> None:
        for rank in ranks:
            self.history.availability.went_down(self.nodes[rank], at)

    def test_all_but_one(self) -> None:
        """A value survives the death of all but one of its holders; of all of them it need not."""
        self.write(b"a", 1, 2, copies=8)
        self.kill(*range(7))
        self.assertEqual(self.judge(None, 10), "lost")
        self.kill(7)
        self.assertEqual(self.judge(None, 11), "excused")
        self.assertEqual(self.judge(b"?", 11), "forged")

    def test_stale(self) -> None:
        """After the death of the holders of the newest value a get may return what it replaced, but no older
        value."""
        self.write(b"a", 1, 2)
        self.write(b"b", 2, 3)
        self.write(b"c", 3, 4, copies=1)
        self.assertEqual(self.judge(b"b", 4), "stale")
        self.kill(0)
        self.assertEqual((self.judge(b"b", 10), self.judge(b"a", 10)), ("excused", "stale"))

    def test_far_away(self) -> None:
        """The death of nodes that cannot be holders excuses nothing; nor that of nodes that died before."""
        self.kill(0, 1, at=0.5)
        self.write(b"a", 1, 2, copies=1)
        self.kill(*range(8, 20))
        self.assertEqual(self.judge(None, 10), "lost")

    def test_back(self) -> None:
        """A node that returned with its disk has its records after a while; a new node has none."""
        self.write(b"a", 1, 2, copies=1)
        self.kill(0)
        self.history.availability.came_up(self.nodes[0], 10, kept=True)
        self.assertEqual((self.judge(None, 20), self.judge(None, 60)), ("excused", "lost"))
        self.kill(0, at=70)
        self.history.availability.came_up(self.nodes[0], 80)
        self.assertEqual(self.judge(None, 200), "excused")

    def test_back_too_late(self) -> None:
        """What replaced a value and has expired is known while a holder was there in time. One that returns
        after that, or just before, brings it to nobody."""
        self.write(b"a", 0, 0.5)
        self.write(b"b", 1, 2, copies=1, ttl=60)
        self.kill(0)
        self.history.availability.came_up(self.nodes[0], 50, kept=True)
        self.assertEqual(self.judge(b"a", 100), "excused")
        self.history.availability = Availability()
        for node in self.nodes:
            self.history.availability.came_up(node, 0)
        self.kill(0)
        self.history.availability.came_up(self.nodes[0], 20, kept=True)
        self.assertEqual(self.judge(b"a", 100), "stale")

    def test_liars(self) -> None:
        """Nothing is promised of open keys while a node is hostile."""
        self.history.availability.turned_hostile(self.nodes[19])
        self.write(b"a", 1, 2)
        self.assertEqual([self.judge(found, 3) for found in (b"?", None)], ["excused", "excused"])

    def test_liars_elsewhere(self) -> None:
        """Content is found while one of its holders is honest, and nothing is forged."""
        self.key = CONTENT
        self.write(b"content", 1, 2, copies=20)
        for node in self.nodes[1:]:
            self.history.availability.turned_hostile(node)
        self.assertEqual([self.judge(found, 3) for found in (b"?", None)], ["forged", "lost"])
        self.assertEqual(self.judge(b"?", 1001), "excused")  # It has expired, and the key is open to all.
        self.history.availability.turned_hostile(self.nodes[0])
        self.assertEqual([self.judge(found, 3) for found in (b"?", None)], ["excused", "excused"])


class PartitionTests(HistoryTestCase):
    """Promises during a partition, and after it."""

    def test_apart(self) -> None:
        """A get may miss values of the other side; but nothing is forged, and nothing expires late."""
        self.write(b"a", 1, 2, ttl=60)
        self.write(b"b", 3, 4)
        self.history.partitioned()
        self.assertEqual(
            [self.judge(found, 5) for found in (b"b", b"a", None)], ["right", "excused", "excused"]
        )
        self.assertEqual([self.judge(b"?", 5), self.judge(b"a", 70)], ["forged", "expired"])

    def test_junk_apart(self) -> None:
        """A get may return junk when all acknowledged content is on the other side."""
        self.key = CONTENT
        self.write(b"content", 1, 2)
        self.write(b"junk", 3, 4, PutResponse.FAILED)
        self.assertEqual(self.judge(b"junk", 5), "forged")
        self.history.partitioned()
        self.assertEqual([self.judge(found, 5) for found in (b"junk", b"?")], ["excused", "forged"])

    def test_whole_again(self) -> None:
        """A minute later the value of any put of that time is right, and the value before them is not."""
        self.write(b"a", 1, 2)
        self.history.partitioned()
        self.write(b"b", 3, 4)
        self.write(b"c", 5, 6)
        self.history.healed(10)
        self.assertEqual(self.judge(b"a", 11), "right")
        self.write(b"d", 12, 13)
        self.assertEqual(
            [self.judge(found, 10 + AGREEMENT_SECONDS) for found in (b"b", b"c", b"d")], ["right"] * 3
        )
        self.assertEqual(
            [self.judge(found, 10 + AGREEMENT_SECONDS) for found in (b"a", None)], ["stale", "lost"]
        )
        self.write(b"e", 80, 81)
        self.assertEqual([self.judge(found, 82) for found in (b"e", b"d")], ["right", "stale"])


class ReportTests(HistoryTestCase):
    """The text of violations, and the counts."""

    def test_violation(self) -> None:
        """A violation names the key, the returned and the expected value, both with times, and the
        clients."""
        old = self.history.put_invoked(KEY << 224, b"a", 60, 101, 20, "node 3")
        self.history.put_responded(old, PutResponse.STORED, 101.5)
        new = self.history.put_invoked(KEY << 224, b"b", 60, 102, 8, "node 4")
        self.history.put_responded(new, PutResponse.STORED, 102.25)
        self.history.get_responded(KEY << 224, b"a", 103, 103.1, "node 5")
        (read,) = self.history.violations
        self.assertEqual(
            read.describe(100),
            "stale: open key 00000007, get 3.000-3.100 s at node 5 brought put 1 (r 20, 1.000-1.500 s "
            "stored at "
            "node 3) rather than put 2 (r 8, 2.000-2.250 s stored at node 4)",
        )

    def test_kinds(self) -> None:
        """Gets are counted by the kind of the key and by verdict."""
        self.key = CONTENT
        self.write(b"content", 1, 2)
        self.judge(b"content", 3)
        self.judge(None, 3)
        self.key = KEY
        self.judge(None, 3)
        self.assertEqual(
            self.history.counts,
            {
                (Kind.CONTENT, GetVerdict.RIGHT): 1,
                (Kind.CONTENT, GetVerdict.LOST): 1,
                (Kind.OPEN, GetVerdict.RIGHT): 1,
            },
        )
        self.assertEqual(self.history.count(GetVerdict.RIGHT), 2)

    def test_acknowledged(self) -> None:
        """Of each key the newest write, where a get must return it."""
        self.write(b"a", 0, 1)
        newest = self.write(b"b", 2, 3, ttl=60)
        self.assertEqual(self.history.acknowledged(10), [newest])
        self.assertEqual(self.history.acknowledged(100), [])
        self.write(b"c", 11, 12, PutResponse.FAILED)
        self.assertEqual(self.history.acknowledged(13), [])

    def test_endings(self) -> None:
        """A bool and a receipt give the same responses."""
        answers: list[bool | Receipt] = [True, False, *(Receipt(outcome) for outcome in PutOutcome)]
        self.assertEqual(
            [PutResponse.of(each) for each in answers],
            [
                PutResponse.STORED,
                PutResponse.FAILED,
                PutResponse.STORED,
                PutResponse.STORED,
                PutResponse.SUPERSEDED,
                PutResponse.FAILED,
            ],
        )
