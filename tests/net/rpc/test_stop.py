import gc
import random

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Seed
from dht14.maintenance.handover import HAND_OVER_TIMEOUT
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions
from dht14.sim.network import VirtualNetwork, VirtualPort
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import build_stack
from tests.fakes import BEGINNING, address_of, identity
from tests.stacks import stack_inputs

OPTIONS = StackOptions(refresh_interval=1.0, republish_interval=4.0, cleanup_interval=1.0, sealed=False)
OTHERS = 6


def resolve(host: str, port: int) -> "Deferred[list[Address]]":
    """Resolves addresses like the DNS; a name is still being resolved when the node is stopped."""
    found: Deferred[list[Address]] = Deferred()
    if not host.endswith(".invalid"):
        found.callback([(host, port)])
    return found


class PlannedStopTests(SynchronousTestCase):
    """A node that is stopped, at any moment: no part of it fails."""

    def setUp(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.network = VirtualNetwork(self.clock, random.Random(1), Conditions())
        self.ports: dict[int, VirtualPort] = {}

    def start(self, number: int, options: StackOptions = OPTIONS) -> Stack:
        stack = build_stack(
            stack_inputs(
                identity(number << 250), self.clock, options, rng=random.Random(number), resolve=resolve
            )
        )
        self.ports[number] = self.network.listen(address_of(number), stack.rpc)
        self.network.listen((address_of(number)[0], 9000), stack.probe)
        for service in stack.services:
            service.startService()
        return stack

    def wait(self, seconds: float) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)

    def stop(self, stack: Stack, hands_over: bool) -> None:
        """Stop a node as `service` does."""
        if hands_over:
            left = stack.leave(HAND_OVER_TIMEOUT)
            self.wait(HAND_OVER_TIMEOUT + 0.1)
            self.successResultOf(left)
        stopped = [maybeDeferred(service.stopService) for service in stack.services]
        stack.stop_calls()
        self.wait(5)
        for one in stopped:
            self.successResultOf(one)

    def life(self, seconds: float, hands_over: bool, is_cut_off: bool) -> list[str]:
        """The failures that a node logs if it is stopped after this time, among others."""
        self.setUp()
        others = [self.start(1)]
        seeds = (Seed(*address_of(1)), Seed("no-such-host.invalid", 1))
        others += [self.start(n, evolve(OPTIONS, seeds=seeds)) for n in range(2, OTHERS)]
        self.wait(3)
        node = self.start(OTHERS, evolve(OPTIONS, seeds=seeds, advertised=("no-such-host.invalid", 1)))
        self.wait(3)
        for key in range(40):
            size = 2_000 if key % 8 == 0 else 10
            node.node.put(key << 249, b"v" * size, 600, 0)
        self.wait(0.2)
        # One that comes, and so a reason to repair; and gets under way.
        others.append(self.start(OTHERS + 1, evolve(OPTIONS, seeds=seeds)))
        self.wait(seconds - 0.05)
        for key in range(40, 50):
            node.node.get(key << 249)
        if is_cut_off:
            self.network.cut(self.ports[OTHERS])
        self.wait(0.05)
        with capturedLogs() as events:
            self.stop(node, hands_over)
            del node
            gc.collect()
        return [event["log_format"] for event in events if event["log_level"].name in ("error", "critical")]

    def test_at_any_moment(self) -> None:
        """Join, liveness, refresh, announcing, sweeps, republish, repair, GETs and PUTs can be stopped at
        any moment."""
        for tenths in range(1, 160, 6):
            for hands_over in (False, True):
                errors = self.life(tenths / 10, hands_over, is_cut_off=tenths % 2 == 0)
                self.assertEqual(errors, [], f"after {tenths / 10} s, hands over: {hands_over}")

    def test_while_it_joins(self) -> None:
        """So can a join: at its first call, while it looks up ranges, and while it waits for the next
        attempt."""
        seeds = (Seed(*address_of(1)), Seed("no-such-host.invalid", 1), Seed(*address_of(99)))
        for hundredths in range(0, 120, 4):
            self.setUp()
            for n in range(1, OTHERS):
                self.start(n, evolve(OPTIONS, seeds=seeds[:1]))
            self.wait(3)
            node = self.start(OTHERS, evolve(OPTIONS, seeds=seeds))
            self.wait(hundredths / 100)
            with capturedLogs() as events:
                self.stop(node, hands_over=False)
                gc.collect()
            levels = {event["log_level"].name for event in events}
            self.assertFalse(levels & {"error", "critical"}, f"after {hundredths / 100} s")
