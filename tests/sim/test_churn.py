"""Churn."""

import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.churn import Churn, SessionLengths
from dht14.sim.host import NodeRole
from dht14.sim.world import World


class SessionLengthsTests(SynchronousTestCase):
    def test_median(self) -> None:
        """Half of the sessions are longer than the median, for each shape."""
        for shape in (1.0, 0.5):
            lengths = sorted(
                SessionLengths(600.0, shape).draw(random.Random(number)) for number in range(5000)
            )
            self.assertApproximates(lengths[2500], 600.0, 40.0)

    def test_shape(self) -> None:
        """As measured among peers, many sessions are short and some very long."""

        def tails(shape: float) -> tuple[float, float]:
            lengths = sorted(
                SessionLengths(600.0, shape).draw(random.Random(number)) for number in range(5000)
            )
            return lengths[500], lengths[4500]

        (short, long), (shorter, longer) = tails(1.0), tails(0.5)
        self.assertLess(shorter, short / 3)
        self.assertGreater(longer, 2 * long)


class ChurnTests(SynchronousTestCase):
    def run_churn(self, stopped: float, returning: float) -> tuple[World, Churn]:
        world = World(nodes=10, seed=1)
        world.join()
        churn = Churn(world, SessionLengths(60.0), SessionLengths(10.0), stopped, returning)
        churn.start()
        world.wait(300)
        return world, churn

    def test_replaced(self) -> None:
        """Sessions end, new nodes replace those that left, and bootstrap nodes stay."""
        world, churn = self.run_churn(stopped=0.0, returning=0.0)
        self.assertApproximates(churn.departures, 10 * 300 / (70 / 0.69), 15)
        addresses = {host.contact.address for host in world.hosts if host.role is NodeRole.NODE}
        self.assertEqual(len(addresses), 10)
        begun = World(nodes=10, seed=1)
        self.assertGreater(len(addresses - {host.contact.address for host in begun.hosts}), 5)
        self.assertTrue(world.nodes[0].running and world.nodes[1].running)
        self.assertEqual(world.hosts[0].contact, begun.hosts[0].contact)

    def test_returning(self) -> None:
        """A node that returns after an orderly stop is the same node."""
        world, churn = self.run_churn(stopped=1.0, returning=1.0)
        begun = World(nodes=10, seed=1)
        self.assertGreater(churn.departures, 10)
        self.assertEqual([host.contact for host in world.hosts], [host.contact for host in begun.hosts])

    def test_stopped(self) -> None:
        """After `stop` no node leaves any more, and all return."""
        world, churn = self.run_churn(stopped=0.5, returning=0.5)
        churn.stop()
        world.wait(300)
        departures = churn.departures
        world.wait(300)
        self.assertEqual(churn.departures, departures)
        self.assertEqual(len(world.callers()), 10)
