from twisted.trial.unittest import SynchronousTestCase

from dht14.database.disk_state import CALM, MAX_DAMAGED, PROBE_CALM, ROOM_AGAIN, DiskState
from dht14.database.tables import Usage
from dht14.database.writer_thread import GONE, Written
from tests.database.disk import Notes

LIMIT = 64_000


class DiskStateTests(SynchronousTestCase):
    """Each bout is told twice: when it begins and when it is over."""

    def setUp(self) -> None:
        self.notes = Notes()
        self.state = DiskState(self.notes, LIMIT)

    def write(self, now: float, used: int = 0, refused: frozenset[bytes] = frozenset()) -> None:
        self.state.wrote(Written(Usage(used, 1), refused), now)

    def test_refusing(self) -> None:
        """A disk that takes one thing and refuses the next is in one bout, until it has taken all for a while."""
        for now in (0.0, 3.0, 6.0):
            self.state.failed("why", now)
            self.write(now + 1)
        self.assertEqual(self.notes.heard, [("writing failed", "why")])
        self.write(6.0 + CALM)
        self.write(6.0 + CALM)
        self.assertEqual(self.notes.names, ["writing failed", "writing resumed"])

    def test_probe(self) -> None:
        """Where nobody writes a probe ends the bout, unless the disk has refused meanwhile."""
        self.assertFalse(self.state.is_worth_a_probe(1e9))
        self.state.failed("why", 0.0)
        self.assertFalse(self.state.is_worth_a_probe(PROBE_CALM - 1))
        self.assertTrue(self.state.is_worth_a_probe(PROBE_CALM))
        self.state.failed("why", PROBE_CALM)
        self.state.probed(PROBE_CALM)
        self.assertEqual(self.notes.names, ["writing failed"])
        self.state.probed(2 * PROBE_CALM)
        self.assertEqual(self.notes.names, ["writing failed", "writing resumed"])

    def test_full(self) -> None:
        """A full store is full until a part of its limit is free again; a little less is no news."""
        self.state.refused(LIMIT - 10)
        self.state.refused(LIMIT - 10)
        self.write(0.0, LIMIT - 20, frozenset([b"x"]))
        self.assertEqual(self.notes.heard, [("store full", LIMIT - 10)])
        self.write(0.0, LIMIT - LIMIT // ROOM_AGAIN)
        self.assertEqual(self.notes.names, ["store full", "room again"])

    def test_more_than_may_be(self) -> None:
        """A store that holds more than it may is full before anything is refused."""
        self.state.uses(LIMIT)
        self.state.uses(LIMIT + 1)
        self.assertEqual(self.notes.heard, [("store full", LIMIT + 1)])

    def test_gone(self) -> None:
        """A file that is gone is told apart from a disk that refuses."""
        self.state.failed(GONE, 0.0)
        self.assertTrue(self.state.is_gone)
        self.state.failed("why", 0.0)
        self.assertFalse(self.state.is_gone)

    def test_damaged(self) -> None:
        """A damaged record counts once, and boundedly many are remembered."""
        for number in [*range(MAX_DAMAGED + 5), 3]:
            self.state.damaged(b"%d" % number)
        self.assertEqual(self.notes.heard[-1], ("record damaged", MAX_DAMAGED))
        self.assertEqual(len(self.notes.heard), MAX_DAMAGED)
