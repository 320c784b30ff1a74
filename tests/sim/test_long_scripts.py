"""Networks that run for long, and what their nodes keep."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.policy import Policy
from dht14.node.responder import Responder
from dht14.sim.host import NodeRole
from dht14.sim.long_scripts import kept_items, long_churn
from dht14.sim.run import ScenarioRun
from dht14.sim.scenario import Result, Scenario, Script
from dht14.stack import StackOptions


class Hoarder(Responder):
    """A responder with a fault: it keeps what it is asked."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.hoard: list[object] = []

    def answer(self, *words: Any) -> None:
        self.hoard.append(words[0])
        super().answer(*words)


def hoarding(run: ScenarioRun) -> None:
    """The same as `long_churn`, with the fault."""
    world = run.world
    for host in world.hosts:
        if host.role is NodeRole.NODE:
            world.set_host(evolve(host, make_responder=Hoarder))
    long_churn(0.05, 600.0)(run)


TTL = 600
OPTIONS = StackOptions(policy=Policy(max_ttl=TTL, default_ttl=TTL), cleanup_interval=60.0)


class LongChurnTests(SynchronousTestCase):
    def play(self, script: Script) -> Result:
        return Scenario("", "", script, nodes=6, values=60, options=OPTIONS, checked=False).run(1)

    def test_kept_items(self) -> None:
        """Every record that a node holds counts."""

        def script(run: ScenarioRun) -> None:
            run.join()
            node = run.nodes()[0]
            before = kept_items(node)
            run.put()
            run.notes["more"] = kept_items(node) - before

        result = self.play(script)
        self.assertGreaterEqual(result.notes["more"], 60)

    def test_churn(self) -> None:
        """Nodes that stay keep little more in the second half of the time; a node with a leak does."""
        result = self.play(long_churn(0.05, 600.0))
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
        leaking = self.play(hoarding)
        self.assertIn(
            "items kept more, an hour", [promise.name for promise in leaking.promises if not promise.kept]
        )
