"""Which values a network of nodes that fail must still keep."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.availability import EXTRA_HOLDERS, REPAIR_SECONDS, RETURN_SECONDS, Availability

KEY = 5


class AvailabilityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.availability = Availability()
        self.nodes = [KEY ^ 1 << bit for bit in range(20)]  # The nearest first.
        for node in self.nodes:
            self.availability.came_up(node, 0)

    def must_keep(self, copies: int, now: float, invoked_at: float = 10) -> bool:
        return self.availability.must_keep(KEY, copies, invoked_at, invoked_at + 1, now)

    def kill(self, *ranks: int, at: float = 20) -> None:
        for rank in ranks:
            self.availability.went_down(self.nodes[rank], at)

    def test_nobody_known(self) -> None:
        """While no node is known every value must be kept."""
        self.assertTrue(Availability().must_keep(KEY, 8, 0, 1, 1000))

    def test_nobody_there(self) -> None:
        """A value that no node could store beside its writer need not be kept."""
        self.kill(*range(len(self.nodes)), at=5)
        self.assertFalse(self.must_keep(8, 30))

    def test_enough_left(self) -> None:
        """A value must be kept while fewer nodes have died than it has copies."""
        self.kill(0, 1)
        self.assertEqual([self.must_keep(copies, 30) for copies in (1, 2, 3)], [False, False, True])
        self.assertTrue(self.must_keep(1, 19))

    def test_stand_ins(self) -> None:
        """A few nodes beyond the nearest may hold a copy; farther ones may not."""
        self.kill(EXTRA_HOLDERS)
        self.assertFalse(self.must_keep(1, 30))
        self.availability.came_up(self.nodes[EXTRA_HOLDERS], 40, kept=True)
        self.kill(EXTRA_HOLDERS + 1, at=100)
        self.assertTrue(self.must_keep(1, 110))

    def test_few_nodes(self) -> None:
        """With fewer nodes than copies, all of them have to die."""
        self.availability = Availability()
        for node in self.nodes[:3]:
            self.availability.came_up(node, 0)
        self.kill(0, 1)
        self.assertTrue(self.must_keep(8, 30))
        self.kill(2)
        self.assertFalse(self.must_keep(8, 30))

    def test_hanging_disk(self) -> None:
        """A node whose disk hangs during the whole put is no holder; one whose disk hangs for a part of it
        may be one, and a value need not survive with it. Afterwards it keeps what it has."""
        self.availability = Availability()
        for node in self.nodes[:2]:
            self.availability.came_up(node, 0)
        self.availability.disk_hung(self.nodes[1], 5)
        self.assertTrue(self.must_keep(8, 30))
        self.kill(0)
        self.assertFalse(self.must_keep(8, 30))
        self.availability.came_up(self.nodes[0], 40, kept=True)
        self.availability.disk_mended(self.nodes[1], 50)
        self.assertEqual([self.must_keep(8, 90, at) for at in (9, 49.5, 51)], [True, True, True])
        self.kill(0, at=100)
        self.assertEqual([self.must_keep(8, 110, at) for at in (9, 49.5, 51)], [False, False, True])

    def test_returned(self) -> None:
        """A node that returned with its disk counts again after a while; without its disk it does not."""
        for rank, kept in ((0, True), (1, False)):
            self.kill(rank)
            self.availability.came_up(self.nodes[rank], 25, kept=kept)
        self.assertEqual([self.must_keep(2, 25 + RETURN_SECONDS + late) for late in (-1, 1)], [False, True])
        self.assertFalse(self.must_keep(1, 25 + RETURN_SECONDS + 1))

    def test_away(self) -> None:
        """Nodes that were down during the put, or came later, do not count."""
        self.kill(0, 1, 2, at=5)
        self.availability.came_up(KEY, 15)
        self.availability.went_down(KEY, 20)
        self.assertTrue(self.must_keep(1, 30))

    def test_repaired(self) -> None:
        """Deaths with ten minutes between them leave all copies; of one copy the first leaves none."""
        for turn in range(8):
            self.kill(turn, at=20 + turn * REPAIR_SECONDS)
        self.assertTrue(self.must_keep(2, 20 + 8 * REPAIR_SECONDS))
        self.assertFalse(self.must_keep(1, 20 + 8 * REPAIR_SECONDS))

    def test_liars(self) -> None:
        """No value is available from a hostile node."""
        self.assertTrue(self.availability.all_honest)
        self.availability.turned_hostile(self.nodes[3])
        self.assertFalse(self.availability.all_honest)
        self.assertEqual([self.must_keep(copies, 30) for copies in (1, 2)], [False, True])
