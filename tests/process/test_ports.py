"""The ports of these tests themselves."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.process.nodes import TOP, environment
from tests.process.ports import PORTS, PortRange, free_port

PROGRAM = """
from tests.process.ports import free_port
print(free_port(), *(free_port() for _ in range(1_999)), flush=True)
input()
"""


class PortsTests(SynchronousTestCase):
    def test_side_by_side(self) -> None:
        """No port is given to two of many processes, whatever their pids; one that has ended leaves its ports
        to others."""
        started = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                cwd=TOP,
                env=environment({}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(12)
        ]
        given = []
        for process in started:
            assert process.stdout is not None
            given.append({int(port) for port in process.stdout.readline().split()})
        for process in started:
            process.communicate("\n")
        given.append({free_port()})
        self.assertEqual(len(set().union(*given)), sum(map(len, given)))
        self.assertEqual([process.returncode for process in started], [0] * 12)

    def test_not_soon(self) -> None:
        """A port that was given is not given again before nearly all others were."""
        ports = PortRange()
        given = [ports.take() for _ in range(PORTS // 2)]
        self.assertEqual(len(set(given)), len(given))
