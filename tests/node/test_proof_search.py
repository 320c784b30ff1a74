from twisted.internet.task import Clock, TaskStopped
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.proof_search import REPORT_INTERVAL, SLICE_PAUSE, ProofSearch
from dht14.security.identity import Puzzle
from tests.fakes import fields

PUBLIC_KEY = bytes(range(32))


class ProofSearchTests(SynchronousTestCase):
    """The search for an identity beside the other work of the reactor."""

    def setUp(self) -> None:
        self.clock = Clock()

    def test_found(self) -> None:
        """It ends with a proof that solves the puzzle, and then can be stopped without harm."""
        puzzle = Puzzle("main", 2)
        proof_search = ProofSearch(puzzle, PUBLIC_KEY, self.clock)
        found = proof_search.start()
        while self.clock.getDelayedCalls():
            self.clock.advance(SLICE_PAUSE)
        proof = self.successResultOf(found)
        self.assertEqual(puzzle.verify_proof(proof), puzzle.node_id_of(proof))
        self.assertEqual(proof[:32], PUBLIC_KEY)
        proof_search.stop()

    def test_stopped(self) -> None:
        """It can be stopped before it has begun and while it runs; then nothing is left on the clock."""
        ProofSearch(Puzzle("main", 8), PUBLIC_KEY, self.clock).stop()
        proof_search = ProofSearch(Puzzle("main", 8), PUBLIC_KEY, self.clock)
        found = proof_search.start()
        self.clock.advance(SLICE_PAUSE)
        proof_search.stop()
        self.failureResultOf(found, TaskStopped)
        self.clock.advance(SLICE_PAUSE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_progress(self) -> None:
        """A long search logs its progress now and then."""
        with capturedLogs() as events:
            proof_search = ProofSearch(Puzzle("main", 8), PUBLIC_KEY, self.clock)
            proof_search.start().addErrback(lambda failure: failure.trap(TaskStopped))
            self.clock.advance(SLICE_PAUSE)
            self.clock.advance(REPORT_INTERVAL)
            proof_search.stop()
        self.assertEqual([expected for (expected,) in fields(events, "expected")], [1 << 33] * 2)
        ((tries, rate, left),) = fields(events, "tries", "rate", "left")
        self.assertGreater(tries, 0)
        self.assertEqual(rate, tries / REPORT_INTERVAL)
        self.assertAlmostEqual(left * rate, (1 << 33) - tries, delta=1)
