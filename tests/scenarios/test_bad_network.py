"""Loss, duplicates and reordering: callers wait a little longer, and nothing is wrong."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import Conditions
from dht14.sim.host import Operation
from dht14.sim.statistics import percentile
from tests.scenarios.town import Town


def p99(outcomes: list[Operation[bytes | None]]) -> float:
    """In seconds."""
    return percentile(sorted(outcome.seconds for outcome in outcomes), 99)


class BadNetworkTests(SynchronousTestCase):
    def test_five_percent_lost(self) -> None:
        """With 5 % of the datagrams lost every put and get succeeds, and 99 of 100 gets take under half a second."""
        town = Town(20, Conditions(loss=0.05))
        town.join()
        town.put(100)
        wrong, outcomes = town.get(times=5)
        self.assertEqual((len(town.values), wrong), (100, 0))
        self.assertLess(p99(outcomes), 0.5)

    def test_twenty_percent_lost(self) -> None:
        """With 20 % lost, where 4 of 100 exchanges fail after their resend too, what was acknowledged is found."""
        town = Town(20, Conditions(loss=0.2))
        town.join()
        town.put(100)
        wrong, outcomes = town.get(times=5)
        self.assertGreaterEqual(len(town.values), 95)
        self.assertEqual(wrong, 0)
        self.assertLess(max(outcome.seconds for outcome in outcomes), 5.0)

    def test_duplicated_and_reordered(self) -> None:
        """A fifth of all datagrams comes twice and a fifth out of order: nothing is lost, nobody is confused."""
        town = Town(20, Conditions(duplicate=0.2, reorder=0.2))
        town.join()
        town.put(100)
        wrong, _ = town.get(times=5)
        self.assertEqual((len(town.values), wrong), (100, 0))
        unasked = sum(node.stack.rpc.counters["unasked"] for node in town.world.nodes.values())
        self.assertGreater(unasked, 0)

    def test_overwritten(self) -> None:
        """Of two values put under one key one after the other, every node finds the second."""
        town = Town(10, Conditions(loss=0.05, duplicate=0.1, reorder=0.1))
        town.join()
        town.put(20)
        overwritten = town.put_values({key: value[:900] + b" anew" for key, value in town.values.items()})
        self.assertEqual([outcome.result for outcome in overwritten], [True] * 20)
        self.assertEqual(town.wrong_from_everywhere(), 0)
