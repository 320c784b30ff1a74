import random
from collections.abc import Callable, Iterable

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import random_id
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import K
from dht14.kademlia.routing_table import RoutingTable
from tests.kademlia.test_routing_table import OWN, contact


class IsNearTests(SynchronousTestCase):
    def test_near(self) -> None:
        """This node is one of the nearest while not as many live contacts are nearer."""
        table = RoutingTable(8)
        neighbourhood = Neighbourhood(table)
        self.assertTrue(neighbourhood.is_near(0, 1))
        for node_id in (1, 2, 16):
            table.confirmed(contact(node_id), 0.0, 0.1)
        self.assertEqual(
            [neighbourhood.is_near(0, count) for count in (1, 2, 3, 4)], [False, False, True, True]
        )
        table.failed(contact(1), 10.0)
        self.assertTrue(neighbourhood.is_near(0, 2))


class KnowsRegionTests(SynchronousTestCase):
    def neighbourhood(self, known: Callable[[int], bool], nodes: int = 2000) -> Neighbourhood:
        """The table of a node that knows its own neighbourhood, and of the other nodes those that are
        `known`."""
        rng = random.Random(14)
        cluster = sorted((random_id(rng) for _ in range(nodes)), key=OWN.__xor__)
        table = RoutingTable(OWN)
        for index, node_id in enumerate(cluster):
            if index < 2 * K or known(index):
                table.confirmed(contact(node_id), 0.0, 0.1)
        return Neighbourhood(table)

    def share_known(self, neighbourhood: Neighbourhood, count: int = 8) -> float:
        rng = random.Random(15)
        return sum(neighbourhood.knows_region(random_id(rng), count) for _ in range(500)) / 500

    def test_everybody(self) -> None:
        """A node that knows all nodes knows nearly every region, whatever the number of copies."""
        neighbourhood = self.neighbourhood(lambda index: True, nodes=250)
        for count in (2, 8, 20):
            self.assertGreater(self.share_known(neighbourhood, count), 0.9, count)

    def test_a_tenth(self) -> None:
        """A node that knows a tenth of the far nodes knows no region there, but its own."""
        neighbourhood = self.neighbourhood(lambda index: index % 10 == 0)
        self.assertLess(self.share_known(neighbourhood), 0.05)
        self.assertTrue(neighbourhood.knows_region(OWN, 8))

    def test_small_network(self) -> None:
        """A network of up to k others is one neighbourhood, for more copies than there are nodes too."""
        neighbourhood = self.neighbourhood(lambda index: True, nodes=K)
        self.assertEqual([self.share_known(neighbourhood, count) for count in (1, 8, 20)], [1.0] * 3)

    def test_empty(self) -> None:
        """A node without contacts knows no region."""
        self.assertFalse(Neighbourhood(RoutingTable(OWN)).knows_region(5, 8))


class CrowdTests(SynchronousTestCase):
    """A node that knows a network of 600, and an attacker that puts nodes beside a key."""

    def setUp(self) -> None:
        self.rng = random.Random(3)
        self.key = random_id(self.rng)
        honest = sorted((random_id(self.rng) for _ in range(600)), key=self.key.__xor__)
        self.honest, self.holder = honest, honest[4]
        self.table = RoutingTable(self.holder)
        self.neighbourhood = Neighbourhood(self.table)
        self.confirm(honest)

    def confirm(self, node_ids: Iterable[int]) -> None:
        for node_id in node_ids:
            self.table.confirmed(contact(node_id), 0, 0.1)

    def crowd(self) -> list[int]:
        return [self.key ^ self.rng.getrandbits(240) for _ in range(20)]

    def test_size(self) -> None:
        """The estimated number of nodes is right within a half."""
        size = self.neighbourhood.network_size()
        assert size is not None
        self.assertTrue(400 < size < 900, size)
        self.assertIsNone(Neighbourhood(RoutingTable(1)).network_size())

    def test_quiet(self) -> None:
        """Next to no key is crowded in an honest network."""
        self.assertLessEqual(sum(self.neighbourhood.is_crowded(random_id(self.rng)) for _ in range(500)), 1)

    def test_crowd(self) -> None:
        """A crowd is detected, whether it is in the table or was found by a lookup."""
        crowd = self.crowd()
        met = sorted(map(contact, crowd), key=lambda contact: contact.node_id ^ self.key)
        self.assertTrue(self.neighbourhood.is_crowded(self.key, met))
        self.confirm(crowd)
        self.assertTrue(self.neighbourhood.is_crowded(self.key))

    def test_holder_in_a_crowd(self) -> None:
        """A node that was one of the nearest still is when a crowd has come, and holds what it is given."""
        self.assertTrue(self.neighbourhood.is_near(self.key, 8))
        self.confirm(self.crowd())
        self.assertTrue(self.neighbourhood.is_near(self.key, 8))
        self.assertTrue(self.neighbourhood.may_hold(self.key, 8))

    def test_far_away(self) -> None:
        """A node far from a key is none of its holders, crowd or not."""
        far = self.key ^ (1 << 255)
        self.confirm(far ^ self.rng.getrandbits(240) for _ in range(20))
        self.assertFalse(self.neighbourhood.is_near(far, 8))
        self.assertFalse(self.neighbourhood.may_hold(far, 16))

    def test_network_size(self) -> None:
        """Lookups elsewhere correct the estimate; a crowd at home hardly moves it."""
        before = self.neighbourhood.network_size() or 0
        self.confirm(self.crowd())
        self.assertTrue(before / 1.7 < (self.neighbourhood.network_size() or 0) < 1.7 * before)
        for _ in range(40):
            target = random_id(self.rng)
            self.neighbourhood.lookup_found(
                target, [contact(i) for i in sorted(self.honest, key=target.__xor__)[:8]]
            )
        self.assertTrue(
            450 < (self.neighbourhood.network_size() or 0) < 800, self.neighbourhood.network_size()
        )
