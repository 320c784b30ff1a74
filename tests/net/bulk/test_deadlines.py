from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.bulk.deadlines import CHECK_INTERVAL, Deadlines


@define(eq=False)
class Subject:
    deadline: float
    passed_at: list[float] = field(factory=list)
    clock: Clock = field(factory=Clock)

    def deadline_passed(self) -> None:
        self.passed_at.append(self.clock.seconds())


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)

    def subject(self, deadline: float) -> Subject:
        subject = Subject(deadline, clock=self.clock)
        self.deadlines.add(subject)
        return subject

    def test_deadline(self) -> None:
        """Each subject is called at the first check after its deadline, also if that was moved."""
        early, moved = self.subject(1.5), self.subject(1.5)
        moved.deadline = 3.5
        for _ in range(3):
            self.clock.advance(CHECK_INTERVAL)
        self.assertEqual((early.passed_at, moved.passed_at), ([2.0, 3.0], []))
        self.deadlines.remove(early)
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual((early.passed_at, moved.passed_at), ([2.0, 3.0], [4.0]))

    def test_nobody(self) -> None:
        """Without subjects no timer runs."""
        subjects = [self.subject(9.0), self.subject(9.0)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for subject in subjects:
            self.deadlines.remove(subject)
        self.deadlines.remove(subjects[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])
