"""Searches for the proof of work of a node id, in slices between which the reactor does other work."""

from collections.abc import Iterator
from contextlib import suppress

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import CooperativeTask, Cooperator, TaskFinished
from twisted.logger import Logger

from dht14.security.identity import SLICE, Puzzle

REPORT_INTERVAL = 5.0
"""Seconds between two log lines about a long search."""

SLICE_PAUSE = 0.0001
"""Seconds between two slices of a search."""


@define(eq=False)
class ProofSearch:
    """One search from start to end."""

    log = Logger()

    _puzzle: Puzzle
    _public_key: bytes
    _clock: IReactorTime
    _proof: bytes = field(default=b"", init=False)
    # In quotes: the oldest Twisted that we support has no parameter here.
    _task: "CooperativeTask[Iterator[None]] | None" = field(default=None, init=False)

    def start(self) -> "Deferred[bytes]":
        """Begin. Fires with the proof, or fails with `TaskStopped` if it is stopped before."""
        cooperator = Cooperator(scheduler=lambda turn: self._clock.callLater(SLICE_PAUSE, turn))
        self._task = cooperator.cooperate(self._steps())
        return self._task.whenDone().addCallback(lambda _: self._proof)

    def stop(self) -> None:
        """Stop the search."""
        if self._task is not None:
            with suppress(TaskFinished):
                self._task.stop()

    def _steps(self) -> Iterator[None]:
        expected = 2 * self._puzzle.tries
        began = reported = self._clock.seconds()
        self.log.info(
            "Searching for the proof of work of the node id: difficulty {difficulty}, "
            "about {expected} tries.",
            event="identity.search_began",
            difficulty=self._puzzle.difficulty,
            expected=expected,
        )
        for slices, proof in enumerate(self._puzzle.solve(self._public_key), 1):
            if proof is not None:
                self._proof = proof
                return
            if self._clock.seconds() - reported >= REPORT_INTERVAL:
                reported = self._clock.seconds()
                tries, seconds = slices * SLICE, reported - began
                self.log.info(
                    "Searching for the proof of work: {tries} of about {expected} tries done, "
                    "{rate:.0f} tries/s, about {left:.0f} s left.",
                    event="identity.search_progress",
                    tries=tries,
                    expected=expected,
                    rate=tries / seconds,
                    # Tries are independent: the second of the two puzzles takes as long as ever.
                    left=max(expected - tries, self._puzzle.tries) * seconds / tries,
                )
            yield
