"""What is read when, and who is listened to."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.node.watch_state import (
    FIRST_DISTRUST,
    LAST_DISTRUST,
    MAX_POLL_INTERVAL,
    MAX_RETRY_INTERVAL,
    POLL_INTERVAL,
    READ_SPACING,
    RENEW_INTERVAL,
    RETRY_INTERVAL,
    UNHEALTHY_RENEW_INTERVAL,
    Found,
    WatchState,
    seen_in,
)
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.messages import NOTHING_HELD
from tests.fakes import contact

NODES: list[Contact] = [contact(number, number) for number in range(1, 6)]


def record(value: bytes, version: int = 1, expires_at: float = 1e9) -> Record:
    return Record(key=1, value=value, version=version, expires_at=expires_at, replication=8)


def mark(found: Record) -> bytes:
    seen = seen_in(found)
    assert seen is not None
    return seen


OLD, NEW = record(b"old"), record(b"new", version=2)


class WatchStateTestCase(SynchronousTestCase):
    """The watch of a key at which OLD was read at second 0; all nodes hold it, too."""

    def setUp(self) -> None:
        self.state = WatchState(1)
        for node in NODES:
            self.state.granted(node, mark(OLD), 60.0)
        self.state.renewed(True, 0.0, 1.0)
        self.read(OLD, 0.0)

    def read(self, found: Found, now: float) -> bool:
        self.state.read_began()
        return self.state.read_ended(found, now)


class HintTests(WatchStateTestCase):
    def test_quiet(self) -> None:
        """While all hold what was read, the next read is a poll."""
        self.assertFalse(self.state.has_hint(1.0))
        self.assertEqual(self.state.read_at(), 2 * POLL_INTERVAL)

    def test_hint(self) -> None:
        """A node with another mark causes a read at once, and none when the read has found that mark."""
        self.assertTrue(self.state.notified(1, mark(NEW)))
        self.assertTrue(self.state.has_hint(5.0))
        self.assertEqual(self.state.read_at(), READ_SPACING)
        self.assertTrue(self.read(NEW, 5.0))
        self.assertEqual(self.state.seen, mark(NEW))
        for node in NODES[1:]:
            self.state.notified(node.node_id, mark(NEW))
        self.assertFalse(self.state.has_hint(5.0))

    def test_strangers(self) -> None:
        """A node that has given no lease is not listened to."""
        self.assertFalse(self.state.notified(99, mark(NEW)))
        self.state.refused(1)
        self.assertFalse(self.state.notified(1, mark(NEW)))
        self.assertFalse(self.state.has_hint(5.0))

    def test_during_a_read(self) -> None:
        """A hint that comes while a read is under way causes another one."""
        self.state.notified(1, mark(NEW))
        self.state.read_began()
        self.state.notified(2, mark(NEW))
        self.state.read_ended(OLD, 5.0)
        self.assertTrue(self.state.has_hint(5.0))
        self.assertEqual(self.state.read_at(), 5.0 + READ_SPACING)
        self.read(NEW, 5.1)
        self.assertFalse(self.state.has_hint(1e6))

    def test_laggard(self) -> None:
        """A node that holds something else, and goes on to, causes one read."""
        self.state.granted(NODES[0], NOTHING_HELD, 60.0)
        self.assertTrue(self.state.has_hint(5.0))
        self.read(OLD, 5.0)
        self.state.granted(NODES[0], NOTHING_HELD, 80.0)
        self.assertFalse(self.state.has_hint(1e6))

    def test_liar(self) -> None:
        """A node whose ever new marks no read confirms is listened to less and less, the others always."""
        now, waited = 5.0, []
        for turn in range(12):
            self.state.notified(1, b"lie%05d" % turn)
            due = max(self.state.read_at(), now)
            waited.append(due - now)
            now = due
            self.read(OLD, now)
        self.assertEqual(waited[:4], [0.0, *(FIRST_DISTRUST * 2.0**turn for turn in range(3))])
        self.assertEqual(max(waited), min(LAST_DISTRUST, MAX_POLL_INTERVAL))
        self.state.notified(1, b"lie again")
        self.assertFalse(self.state.has_hint(now))
        self.state.notified(2, mark(NEW))
        self.assertTrue(self.state.has_hint(now))

    def test_forgiven(self) -> None:
        """A node that was right is listened to again."""
        self.state.notified(1, b"a lie...")
        self.read(OLD, 5.0)
        self.state.notified(1, mark(NEW))
        self.assertFalse(self.state.has_hint(5.5))
        self.read(NEW, 5.5)
        self.state.notified(1, b"whatever")
        self.assertTrue(self.state.has_hint(5.5))

    def test_truth_between_lies(self) -> None:
        """A node that says what is known is not listened to sooner for that: not while another has the key
        read, and not when it has given no lease for a while."""
        now, reads = 5.0, 0
        for turn in range(200):
            liar, other = (1, 2) if turn % 2 else (2, 1)
            self.state.notified(other, mark(OLD))
            self.state.notified(liar, b"lie%05d" % turn)
            if self.state.has_hint(now):
                reads += 1
                self.read(OLD, now)
            now += 0.5
        self.assertLess(reads, 2 * 8)
        self.state.refused(1)
        self.state.granted(NODES[0], b"a lie...", 1e6)
        self.assertFalse(self.state.has_hint(now))

    def test_forgiven_once(self) -> None:
        """For each change a node is forgiven once, before or after the read that finds it."""
        self.state.notified(1, b"a lie...")
        self.read(OLD, 5.0)
        self.state.notified(2, mark(NEW))
        self.read(NEW, 5.1)
        self.state.notified(1, mark(NEW))
        self.state.notified(1, b"a lie...")
        self.assertTrue(self.state.has_hint(5.2))
        self.read(NEW, 5.2)
        self.state.notified(1, mark(NEW))
        self.state.notified(1, b"another.")
        self.assertFalse(self.state.has_hint(5.3))

    def test_change_under_way(self) -> None:
        """A hint beside a change is held against nobody: the put may go on."""
        self.state.notified(1, b"newest..")
        self.read(NEW, 5.0)
        self.state.notified(1, b"after it")
        self.assertTrue(self.state.has_hint(5.0))


class TimeTests(WatchStateTestCase):
    def test_polls(self) -> None:
        """With enough leases the polls are farther and farther apart; without, they are not."""
        gaps, now = [], 0.0
        for _ in range(7):
            gaps.append(self.state.read_at() - now)
            now = self.state.read_at()
            self.read(OLD, now)
        self.assertEqual(gaps, [20.0, 40.0, 80.0, 160.0, 320.0, 320.0, MAX_POLL_INTERVAL])
        self.state.renewed(False, now + 1, 1.0)
        self.assertEqual(self.state.read_at(), now + 1 + POLL_INTERVAL)
        self.read(OLD, now + 11)
        self.assertEqual(self.state.read_at(), now + 11 + POLL_INTERVAL)

    def test_renewals(self) -> None:
        """Leases are renewed in a third of their time, sooner where too few were given."""
        self.assertEqual(self.state.renew_at, RENEW_INTERVAL)
        self.state.renewed(False, 20.0, 1.0)
        self.assertEqual(self.state.renew_at, 20.0 + UNHEALTHY_RENEW_INTERVAL)

    def test_leases_end(self) -> None:
        """A node whose lease was not renewed is forgotten."""
        self.state.granted(NODES[0], mark(OLD), 90.0)
        self.state.renewed(True, 60.0, 1.0)
        self.assertEqual(list(self.state.members), [1])

    def test_expiry(self) -> None:
        """A record is read again when it expires."""
        self.read(record(b"short", 3, expires_at=9.0), 5.0)
        self.assertEqual(self.state.read_at(), 9.0)
        self.read(NoRecord.NOT_FOUND, 9.0)
        self.assertIsNone(self.state.seen)
        self.assertGreater(self.state.read_at(), 9.0 + POLL_INTERVAL)

    def test_never_expires(self) -> None:
        """A record that is about to expire in each answer and does not is read at growing intervals."""
        now, gaps = 5.0, []
        for _ in range(9):
            self.read(record(b"old", expires_at=now + 0.001), now)
            gaps.append(self.state.read_at() - now)
            now = self.state.read_at()
        self.assertEqual([round(gap, 3) for gap in gaps[:4]], [READ_SPACING, 1.0, 2.0, 4.0])
        self.assertLessEqual(gaps[-1], MAX_RETRY_INTERVAL)
        self.assertGreater(gaps[-1], 10.0)
        self.read(record(b"new", 2, expires_at=now + 7.0), now)
        self.assertEqual(self.state.read_at(), now + 7.0)

    def test_put_again(self) -> None:
        """Content that has expired has its old mark when it is put again; that is news."""
        self.read(NoRecord.NOT_FOUND, 5.0)
        self.assertFalse(self.state.has_hint(6.0))
        self.state.granted(NODES[0], mark(OLD), 80.0)
        self.assertTrue(self.state.has_hint(6.0))
        self.assertTrue(self.read(OLD, 6.0))
        self.read(NoRecord.NOT_FOUND, 7.0)
        self.state.granted(NODES[0], NOTHING_HELD, 90.0)
        self.state.notified(1, mark(OLD))
        self.assertTrue(self.state.has_hint(8.0))

    def test_unanswered(self) -> None:
        """A read without a result changes nothing, and is repeated at growing intervals, hints or not."""
        self.state.notified(1, mark(NEW))
        now, gaps = 5.0, []
        for _ in range(9):
            self.assertFalse(self.read(NoRecord.UNANSWERED, now))
            gaps.append(self.state.read_at() - now)
            now = self.state.read_at()
        self.assertEqual(gaps[:4], [RETRY_INTERVAL, 1.0, 2.0, 4.0])
        self.assertEqual(gaps[-1], MAX_RETRY_INTERVAL)
        self.assertEqual(self.state.seen, mark(OLD))
        self.assertTrue(self.read(NEW, now))

    def test_step_back(self) -> None:
        """An older record than the one before is believed only when reads have found it for a while, or when
        the newer one has expired."""
        newer = record(b"newer", version=3, expires_at=100.0)
        self.assertTrue(self.read(newer, 0.0))
        self.assertFalse(self.read(OLD, 1.0))
        self.assertEqual(self.state.read_at(), 1.0 + RETRY_INTERVAL)
        self.assertFalse(self.read(NEW, 6.9))
        self.assertTrue(self.read(OLD, 7.0))
        self.assertEqual(self.state.seen, mark(OLD))
        self.assertTrue(self.read(newer, 8.0))
        self.assertFalse(self.read(OLD, 50.0))
        self.assertTrue(self.read(newer, 51.0))
        self.assertFalse(self.read(OLD, 99.0))
        self.assertTrue(self.read(NEW, 100.0))

    def test_step_back_from_deletion(self) -> None:
        """So it is with a record that its owner has deleted; a newer one is believed at once."""
        self.assertTrue(self.read(NEW, 0.0))
        self.assertTrue(self.read(NoRecord.DELETED, 1.0))
        self.assertFalse(self.read(NEW, 2.0))
        self.assertFalse(self.read(OLD, 7.9))
        self.assertTrue(self.read(NEW, 8.0))
        self.assertTrue(self.read(NoRecord.DELETED, 9.0))
        self.assertTrue(self.read(record(b"newer", version=3), 10.0))

    def test_deleted(self) -> None:
        """A deletion is the end of a record like any other."""
        self.read(NoRecord.DELETED, 5.0)
        self.assertIsNone(self.state.seen)
        self.read(NoRecord.NOT_FOUND, 6.0)
        self.assertIsNone(self.state.seen)
