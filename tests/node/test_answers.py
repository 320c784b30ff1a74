from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.answers import Answers
from dht14.storage.record import Record
from tests.fakes import contact


class AnswersTests(SynchronousTestCase):
    def test_behind(self) -> None:
        """Behind are those that had nothing, and those that had less than the winner."""
        older = Record(1, b"older", 1, 1e9, 8)
        winner = evolve(older, value=b"newer", version=2)
        answers = Answers()
        answers.has(contact(1, 1), older.rank)
        answers.has(contact(2, 2), winner.rank)
        answers.lacks(contact(3, 3))
        self.assertEqual(answers.behind(winner), [contact(1, 1), contact(3, 3)])
        self.assertEqual(answers.lacking(), [contact(3, 3)])
