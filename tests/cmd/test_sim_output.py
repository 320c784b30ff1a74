"""What is printed of a scenario."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.sim_output import ScenarioOutput
from dht14.sim.run import ScenarioRun
from dht14.sim.scenario import Result, Scenario


def play(stage: ScenarioRun) -> None:
    stage.join()
    stage.notes["a note"] = 1.5
    stage.promise("kept one", 1, at_least=1)
    stage.promise("other one", 3, at_most=2)


class PlayedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.result: Result = Scenario("a-play", "something", play, nodes=2, values=1).run(seed=1)
        self.played = ScenarioOutput(
            self.result, wall_seconds=3.0, cpu_seconds=2.0, errors=0, replay="the command"
        )

    def test_missed(self) -> None:
        """A promise that was missed is marked, nothing is good then, and the command is told."""
        self.assertFalse(self.played.good)
        lines = self.played.as_text().splitlines()
        marks = {line.split()[0]: line for line in lines if "one" in line}
        self.assertEqual(sorted(marks), ["MISSED", "kept"])
        self.assertIn("at most 2", marks["MISSED"])
        self.assertEqual(lines[-1], "To see this again: the command")

    def test_kept(self) -> None:
        """With all promises kept it is good, unless a node has logged an error."""
        kept = evolve(self.result, promises=self.result.promises[:1])
        self.assertTrue(evolve(self.played, result=kept).good)
        self.assertFalse(evolve(self.played, result=kept, errors=1).good)
        self.assertNotIn("again", evolve(self.played, result=kept).as_text())

    def test_violations(self) -> None:
        """Each get that broke a promise has a line, and programs are told of it too."""
        wrong = evolve(self.played, result=evolve(self.result, violations=("stale: this", "lost: that")))
        self.assertIn("violation  stale: this\nviolation  lost: that\n", wrong.as_text())
        self.assertEqual(wrong.as_object()["violations"], ("stale: this", "lost: that"))

    def test_speed(self) -> None:
        """Speeds are per second that the process ran."""
        self.assertEqual(self.played.speed["datagrams_per_second"], round(self.result.traffic.sent / 2))
        self.assertEqual(self.played.speed["node_seconds_per_second"], round(self.result.node_seconds / 2))
        self.assertIn("in a second of it", self.played.as_text())

    def test_object(self) -> None:
        """The object names every promise with its bound, and the notes."""
        found = self.played.as_object()
        self.assertEqual(found["notes"], {"a note": 1.5})
        self.assertEqual(
            found["promises"][1],  # type: ignore[index]
            {"name": "other one", "figure": 3, "at_least": None, "at_most": 2, "kept": False},
        )
