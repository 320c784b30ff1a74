"""`dht14 sim`."""

import io
import json
import os
import subprocess
import sys
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd import sim
from dht14.sim.scenarios import SCENARIOS
from tests.cmd import shell

DEATHS = ["deaths", "--nodes", "10", "--values", "5", "--seed", "3"]
SMALL = ["--nodes", "5", "--values", "10", "--gets", "20", "--loss", "0.05"]


def run(*words: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of one run in this process."""
    code, output, errors = shell.run("sim", *words)
    return code, output.decode(), errors


def figures(*words: str) -> dict[str, Any]:
    """What `--json` prints."""
    _, output, _ = run(*words, "--json")
    result: dict[str, Any] = json.loads(output)
    return result


class SimTests(SynchronousTestCase):
    def test_text(self) -> None:
        """A run prints its figures on stdout, nothing on a stderr that is no terminal, and ends with 0."""
        code, output, errors = run(*SMALL)
        self.assertEqual((code, errors), (0, ""))
        names = [line.split()[0] for line in output.splitlines()]
        self.assertEqual(names[:4], ["nodes", "joins", "puts", "gets"])
        self.assertIn("20 of 20 right (100.00%)", output)
        self.assertEqual(names[-1], "digest")

    def test_json(self) -> None:
        """With --json it is one object, whose figures agree with each other."""
        found = figures(*SMALL)
        self.assertEqual(
            (found["joins"]["count"], found["puts"]["count"], found["gets"]["count"]), (7, 10, 20)
        )
        self.assertEqual((found["gets"]["good"], found["good"], found["errors"]), (20, True, 0))
        self.assertLessEqual(found["gets"]["p50_ms"], found["gets"]["p99_ms"])
        self.assertLessEqual(found["gets"]["p99_ms"], found["gets"]["max_ms"])
        traffic = found["traffic"]
        fates = traffic["delivered"] + traffic["lost"] + traffic["unreachable"]
        self.assertGreaterEqual(traffic["sent"] + traffic["duplicated"], fates)
        self.assertLessEqual(traffic["largest_bytes"], 1200)
        self.assertEqual(found["plan"]["conditions"]["loss"], 0.05)

    def test_kill(self) -> None:
        """--kill lets nodes die after the puts, and the run says how many."""
        self.assertEqual(figures(*SMALL, "--kill", "0.2")["killed"], 1)

    def test_broken_promise(self) -> None:
        """When hardly a datagram arrives nodes stay alone, values are not found, and the run ends with 1."""
        code, output, _ = run("--nodes", "5", "--values", "5", "--gets", "5", "--loss", "0.98")
        self.assertEqual(code, 1)
        self.assertIn("0 of 7 joined", output)

    def test_wrong_usage(self) -> None:
        """What is out of bounds is refused with exit code 2 and a line that names the bounds."""
        for words, bounds in (
            (["--nodes", "0"], "from 1 to 100000"),
            (["--nodes", "many"], "from 1 to 100000"),
            (["--loss", "1"], "from 0 to less than 1"),
            (["--kill", "nan"], "from 0 to less than 1"),
            (["--latency", "-1"], "milliseconds"),
            (["--value-size", "65496"], "from 1 to 65495"),
            (["--frobnicate"], "unknown option"),
        ):
            code, output, errors = run(*words)
            self.assertEqual((code, output), (2, ""), words)
            self.assertIn(bounds, errors)

    def test_progress(self) -> None:
        """A terminal sees how far the run has got, and a clean line when a phase is over."""

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        with sim.progress_on(terminal) as progress:
            progress("puts", 1, 2)
            self.assertIn("puts: 1 of 2", terminal.getvalue())
            progress("puts", 2, 2)
        self.assertTrue(terminal.getvalue().endswith("\r\x1b[K"))

    def test_same_digest_in_two_processes(self) -> None:
        """The same seed gives the same digest, however Python hashes strings; another seed another."""
        script = "import sys; from tests.cmd.test_sim import figures; print(figures(*sys.argv[1:])['digest'])"
        digests = []
        for hash_seed, seed in (("1", "7"), ("2", "7"), ("1", "8")):
            command = [sys.executable, "-c", script, *SMALL, "--seed", seed]
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            digests.append(output.stdout)
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])


class ScenarioTests(SynchronousTestCase):
    def test_list(self) -> None:
        """--list tells of every scenario, one a line."""
        code, output, _ = run("--list")
        self.assertEqual(code, 0)
        self.assertEqual([line.split()[0] for line in output.splitlines()], list(SCENARIOS))

    def test_text(self) -> None:
        """A scenario prints a table of its promises; a terminal alone sees more."""
        code, output, errors = run(*DEATHS)
        self.assertEqual((code, errors), (0, ""))
        self.assertIn("nodes: 10, bootstrap nodes: 2, values: 5, seed 3", output)
        promised = [line for line in output.splitlines() if line.startswith("kept ")]
        self.assertEqual(len(promised), 2)
        self.assertNotIn("To see this again", output)

    def test_json(self) -> None:
        """With --json it is one object: the promises, what was read, and how it went over time."""
        found = figures(*DEATHS)
        self.assertEqual((found["scenario"], found["nodes"], found["seed"]), ("deaths", 10, 3))
        self.assertTrue(all(promise["kept"] for promise in found["promises"]))
        self.assertEqual(found["gets"]["right"], 25)
        self.assertEqual(sum(moment["gets"] for moment in found["moments"]), 25)
        self.assertGreater(found["datagrams_per_second"], 0)
        self.assertGreater(found["node_seconds"], 8 * found["virtual_seconds"])
        self.assertEqual((found["good"], found["errors"]), (True, 0))

    def test_same(self) -> None:
        """The same scenario and seed give the same object, but for the time that it took here."""
        one, other = figures(*DEATHS), figures(*DEATHS)
        for found in (one, other):
            for name in [
                name
                for name in found
                if name.endswith("_per_second") or name in ("wall_seconds", "cpu_seconds")
            ]:
                del found[name]
        self.assertEqual(one, other)

    def test_broken(self) -> None:
        """When a run breaks off, its traceback is shown, and the command that plays the same again."""
        words = ["newcomer", "--nodes", "1", "--values", "1", "--seed", "5"]
        code, output, errors = run(*words)
        self.assertEqual((code, output), (1, ""))
        self.assertIn("Traceback", errors)
        self.assertIn("To see this again: dht14 sim " + " ".join(words), errors)

    def test_wrong_usage(self) -> None:
        """What does not go together is refused with exit code 2 and a line that says why."""
        for words, why in (
            (["nowhere"], "there is no 'nowhere'"),
            ([*DEATHS, "--loss", "0.1"], "--loss is part of a scenario"),
            ([*DEATHS, "--value-size", "7"], "--value-size is part of a scenario"),
            (["--plot", "picture.svg"], "needs the name of a scenario"),
            ([*DEATHS, "--jobs", "2"], "give --branches too"),
            ([*DEATHS, "--branches", "2", "--plot", "picture.svg"], "give no --branches"),
            ([*DEATHS, "--plot", "/nowhere/at/all.svg"], "no folder"),
        ):
            code, output, errors = run(*words)
            self.assertEqual((code, output), (2, ""), words)
            self.assertIn(why, errors)

    def test_branches(self) -> None:
        """The nodes join once. The first branch is the run without branches, to the same digest and the same
        number of events; the others differ from it and from each other. All have their promises."""
        command = [sys.executable, "-m", "dht14", "sim", *DEATHS, "--json", "--branches", "3"]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        branches = [json.loads(line) for line in ended.stdout.splitlines()]
        self.assertEqual([branch["branch"] for branch in branches], [0, 1, 2])
        alone = figures(*DEATHS)
        self.assertEqual((branches[0]["digest"], branches[0]["events"]), (alone["digest"], alone["events"]))
        self.assertEqual(len({branch["digest"] for branch in branches}), 3)
        self.assertTrue(all(branch["good"] for branch in branches))
        self.assertIn("--branches 3", branches[1]["replay"])

    def test_broken_branch(self) -> None:
        """A branch that misses a promise, or breaks off, makes the whole command fail; the others are
        printed all the same."""
        words = ["--nodes", "5", "--values", "5", "--gets", "5", "--loss", "0.98", "--branches", "2"]
        command = [sys.executable, "-m", "dht14", "sim", *words]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stdout.count("0 of 7 joined"), 2)

    def test_no_branches(self) -> None:
        """Branches with one disk are refused: they would destroy each other's files."""
        code, output, errors = run("power-cut", "--nodes", "5", "--values", "1", "--branches", "2")
        self.assertEqual((code, output), (2, ""))
        self.assertIn("--branches: power-cut has none: its nodes have disks", errors)

    def test_plot(self) -> None:
        """--plot leaves a picture in the file."""
        path = self.mktemp() + ".svg"
        code, _, _ = run(*DEATHS, "--plot", path)
        self.assertEqual(code, 0)
        with open(path, encoding="utf-8") as file:
            self.assertIn("<svg", file.read())

    def test_no_plot(self) -> None:
        """Where matplotlib is not installed --plot says so before anything is played."""
        self.patch(sim, "can_plot", lambda: False)
        code, output, errors = run(*DEATHS, "--plot", "picture.svg")
        self.assertEqual((code, output), (2, ""))
        self.assertIn("pip install 'dht14[plot]'", errors)


class ErrorsTests(SynchronousTestCase):
    def test_errors(self) -> None:
        """Errors and worse are counted, the first of them kept to be shown; lesser events are not."""
        errors = sim.Errors()
        log = Logger("tests", observer=errors)
        log.warn("Something is odd.")
        for number in range(2 * sim.ERRORS_SHOWN):
            log.error("Error {number}.", number=number)
        log.critical("The last one.")
        self.assertEqual(errors.count, 2 * sim.ERRORS_SHOWN + 1)
        self.assertEqual([event["number"] for event in errors.first], list(range(sim.ERRORS_SHOWN)))
