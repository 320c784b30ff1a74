"""Several runs of one script from one joined world: the process that has joined it forks one for each.

A world cannot be written to a file: most of it is timers, callbacks and coroutines. A fork has all of it, to
the last byte, costs a second, and shares the memory that neither side changes.
"""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from attrs import define, field

from dht14.sim.world import World


class CannotBranch(Exception):
    """The world has something that two processes must not share."""


class AllEnded(Exception):
    """Leaves the script in the process that joined, when all branches have ended. The script goes on only in
    the branches."""


@define(eq=False)
class Branches:
    """The branches of one world. `fork` is what a `ScenarioRun` calls when its nodes have joined.

    Branch 0 is the run that it would be without branches, to the same digest. In the others network and
    clients draw other random numbers from there on.
    """

    count: int
    """0: the run has none, and `fork` does nothing."""
    jobs: int
    """Branches that run at the same time."""
    number: int | None = field(default=None, init=False)
    """Of the branch that this process is; None in the process that joined."""
    codes: list[int] = field(factory=list, init=False)
    """The exit codes of the branches, in their order; of one that a signal ended, minus the signal."""
    _outputs: list[IO[str]] = field(factory=list, init=False)

    def fork(self, world: World) -> None:
        """Fork the branches. Returns in each branch, whose stdout is kept for the process that joined. There
        raises `AllEnded` when all have ended. Raises `CannotBranch`."""
        if not self.count:
            return
        if any(host.disk is not None for host in world.hosts):
            raise CannotBranch("its nodes have disks, and all branches would write to the same files")
        gc.collect()
        gc.freeze()  # What is never looked at stays shared.
        running: dict[int, int] = {}
        self.codes = [0] * self.count
        for number in range(self.count):
            if len(running) >= self.jobs:
                self._wait(running)
            output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - `outputs` closes it
            self._outputs.append(output)
            sys.stdout.flush()
            process = os.fork()
            if not process:
                self.number = number
                sys.stdout = output
                gc.unfreeze()
                world.branch(number)
                return
            running[process] = number
        while running:
            self._wait(running)
        gc.unfreeze()
        raise AllEnded

    def _wait(self, running: dict[int, int]) -> None:
        """Wait until one of these processes has ended."""
        process, status = os.wait()
        self.codes[running.pop(process)] = os.waitstatus_to_exitcode(status)

    def outputs(self) -> Iterator[str]:
        """Yield what each branch has printed, in their order."""
        for output in self._outputs:
            output.seek(0)
            yield output.read()
            output.close()

    def leave(self, code: int) -> None:
        """End this process if it is a branch: nothing of the process that joined may run in it."""
        if self.number is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
