from twisted.trial.unittest import SynchronousTestCase

from dht14.database.health import FREED_PART, MAX_DAMAGED, PROBE_TIME, RECOVERY_TIME, DatabaseHealth
from dht14.database.tables import Usage
from dht14.database.writer_thread import FILE_GONE, Written
from tests.database.disk import Notes

LIMIT = 64_000


class HealthTests(SynchronousTestCase):
    """Each trouble is reported twice: when it begins and when it is over."""

    def setUp(self) -> None:
        self.notes = Notes()
        self.state = DatabaseHealth(self.notes, LIMIT)

    def write(self, now: float, used: int = 0, refused: frozenset[bytes] = frozenset()) -> None:
        self.state.wrote(Written(Usage(used, 1), refused=refused), now)

    def test_refusing(self) -> None:
        """A disk that accepts one write and refuses the next has one trouble, until it has accepted all
        for a while."""
        for now in (0.0, 3.0, 6.0):
            self.state.failed("why", now)
            self.write(now + 1)
        self.assertEqual(self.notes.heard, [("writing failed", "why")])
        self.write(6.0 + RECOVERY_TIME)
        self.write(6.0 + RECOVERY_TIME)
        self.assertEqual(self.notes.names, ["writing failed", "writing resumed"])

    def test_probe(self) -> None:
        """If nobody writes, a probe ends the trouble, unless the disk has failed meanwhile."""
        self.assertFalse(self.state.is_worth_a_probe(1e9))
        self.state.failed("why", 0.0)
        self.assertFalse(self.state.is_worth_a_probe(PROBE_TIME - 1))
        self.assertTrue(self.state.is_worth_a_probe(PROBE_TIME))
        self.state.failed("why", PROBE_TIME)
        self.state.probed(PROBE_TIME)
        self.assertEqual(self.notes.names, ["writing failed"])
        self.state.probed(2 * PROBE_TIME)
        self.assertEqual(self.notes.names, ["writing failed", "writing resumed"])

    def test_full(self) -> None:
        """A full store is full until a part of its limit is free again; less is not reported."""
        self.state.refused(LIMIT - 10)
        self.state.refused(LIMIT - 10)
        self.write(0.0, LIMIT - 20, frozenset([b"x"]))
        self.assertEqual(self.notes.heard, [("store full", LIMIT - 10)])
        self.write(0.0, LIMIT - LIMIT // FREED_PART)
        self.assertEqual(self.notes.names, ["store full", "space available"])

    def test_more_than_may_be(self) -> None:
        """A store that holds more than its limit is full before anything is refused."""
        self.state.size_changed(LIMIT)
        self.state.size_changed(LIMIT + 1)
        self.assertEqual(self.notes.heard, [("store full", LIMIT + 1)])

    def test_gone(self) -> None:
        """A missing file is distinguished from a disk that fails."""
        self.state.failed(FILE_GONE, 0.0)
        self.assertTrue(self.state.file_is_gone)
        self.state.failed("why", 0.0)
        self.assertFalse(self.state.file_is_gone)

    def test_damaged(self) -> None:
        """A damaged record counts once, and the number of remembered ones is limited."""
        for number in [*range(MAX_DAMAGED + 5), 3]:
            self.state.damaged(b"%d" % number)
        self.assertEqual(self.notes.heard[-1], ("record damaged", MAX_DAMAGED))
        self.assertEqual(len(self.notes.heard), MAX_DAMAGED)
