from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.embedding.steady_reactor import SteadyReactor


class SteadyReactorTests(SynchronousTestCase):
    """The reactor of a program, as its node sees it."""

    def test_clock(self) -> None:
        """It has a clock of its own, which runs on when that of the program is set; the program keeps its
        own."""
        program = Clock()
        steady = SteadyReactor(program)
        before = steady.seconds()
        program.rightNow -= 3_600
        self.assertTrue(0 <= steady.seconds() - before < 60)
        self.assertEqual(program.seconds(), -3_600)

    def test_rest(self) -> None:
        """All else is the program's reactor."""
        program = Clock()
        fired: list[int] = []
        call = SteadyReactor(program).callLater(5, fired.append, 1)
        self.assertEqual(program.getDelayedCalls(), [call])
        program.advance(5)
        self.assertEqual(fired, [1])
        self.assertRaises(AttributeError, getattr, SteadyReactor(program), "listenTPC")
