"""The output of a scenario."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.sim_output import ScenarioOutput
from dht14.sim.run import ScenarioRun
from dht14.sim.scenario import Result, Scenario


def script(run: ScenarioRun) -> None:
    run.join()
    run.notes["a note"] = 1.5
    run.promise("kept one", 1, at_least=1)
    run.promise("other one", 3, at_most=2)


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.result: Result = Scenario("a-script", "something", script, nodes=2, values=1).run(seed=1)
        self.output = ScenarioOutput(
            self.result, wall_seconds=3.0, cpu_seconds=2.0, errors=0, replay="the command"
        )

    def test_missed(self) -> None:
        """A promise that was missed is marked, then nothing is good, and the last line is the command."""
        self.assertFalse(self.output.good)
        lines = self.output.as_text().splitlines()
        marks = {line.split()[0]: line for line in lines if "one" in line}
        self.assertEqual(sorted(marks), ["MISSED", "kept"])
        self.assertIn("at most 2", marks["MISSED"])
        self.assertEqual(lines[-1], "To see this again: the command")

    def test_kept(self) -> None:
        """All promises kept is good, unless a node has logged an error."""
        kept = evolve(self.result, promises=self.result.promises[:1])
        self.assertTrue(evolve(self.output, result=kept).good)
        self.assertFalse(evolve(self.output, result=kept, errors=1).good)
        self.assertNotIn("again", evolve(self.output, result=kept).as_text())

    def test_violations(self) -> None:
        """Each get that broke a promise has a line, and is in the object."""
        wrong = evolve(self.output, result=evolve(self.result, violations=("stale: this", "lost: that")))
        self.assertIn("violation  stale: this\nviolation  lost: that\n", wrong.as_text())
        self.assertEqual(wrong.as_object()["violations"], ("stale: this", "lost: that"))

    def test_speed(self) -> None:
        """Rates are per CPU second of the process."""
        self.assertEqual(self.output.speed["datagrams_per_second"], round(self.result.traffic.sent / 2))
        self.assertEqual(self.output.speed["node_seconds_per_second"], round(self.result.node_seconds / 2))
        self.assertIn("in a second of it", self.output.as_text())

    def test_object(self) -> None:
        """The object names every promise with its bound, and the notes."""
        found = self.output.as_object()
        self.assertEqual(found["notes"], {"a note": 1.5})
        self.assertEqual(
            found["promises"][1],  # type: ignore[index]
            {"name": "other one", "figure": 3, "at_least": None, "at_most": 2, "kept": False},
        )
