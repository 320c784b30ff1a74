import random
from collections.abc import Sequence

from attrs import evolve
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Seed
from dht14.net.rpc.duplicate_identity import DUPLICATE_MEMORY
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions
from dht14.sim.network import VirtualNetwork, VirtualPort
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import build_stack
from tests.fakes import BEGINNING, address_of, identity
from tests.stacks import stack_inputs

FAR = 1 << 255


class DuplicateIdentityTests(SynchronousTestCase):
    """Networks in which two nodes have one identity."""

    def setUp(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.network = VirtualNetwork(self.clock, random.Random(1), Conditions())
        self.ports: dict[int, VirtualPort] = {}

    def start(self, number: int, node_id: int, *seeds: int) -> Stack:
        named = tuple(Seed(*address_of(seed)) for seed in seeds)
        stack = build_stack(
            stack_inputs(
                identity(node_id),
                self.clock,
                evolve(StackOptions(), sealed=False, seeds=named),
                rng=random.Random(number),
            )
        )
        self.ports[number] = self.network.listen(address_of(number), stack.rpc)
        self.network.listen((address_of(number)[0], 9000), stack.probe)
        for service in stack.services:
            service.startService()
        self.clock.run_until(self.clock.seconds() + 5)
        return stack

    def reported(self, events: Sequence[LogEvent]) -> list[tuple[str, int]]:
        return sorted((e["host"], e["port"]) for e in events if "Duplicate identity" in e["log_format"])

    def test_two(self) -> None:
        """Each of two nodes with one identity logs once where the other is, without any configuration."""
        with capturedLogs() as events:
            self.start(1, 1)
            self.start(2, 2, 1)
            two = [self.start(number, FAR, 1) for number in (3, 4)]
            self.clock.run_until(self.clock.seconds() + 1_000)
        self.assertEqual(self.reported(events), [address_of(3), address_of(4)])
        met = [stack.rpc.duplicates.address(self.clock.seconds()) for stack in two]
        self.assertEqual(met, [address_of(4), address_of(3)])
        self.assertIsNone(two[0].rpc.duplicates.address(self.clock.seconds() + 2 * DUPLICATE_MEMORY))

    def test_seed(self) -> None:
        """So do two of which one is a seed of the other."""
        with capturedLogs() as events:
            self.start(3, FAR)
            self.start(4, FAR, 3)
            self.clock.run_until(self.clock.seconds() + 100)
        self.assertEqual(set(self.reported(events)), {address_of(3), address_of(4)})

    def test_itself(self) -> None:
        """A node that meets itself logs nothing: it is its own seed, or other nodes know its former
        address."""
        with capturedLogs() as events:
            self.start(1, 1, 1)
            moving = self.start(2, FAR, 1, 2)
            for service in moving.services:
                service.stopService()
            moving.rpc.stop()
            self.network.remove(self.ports[2])
            self.start(3, FAR, 1, 3)
            self.clock.run_until(self.clock.seconds() + 1_000)
        self.assertEqual(self.reported(events), [])
