from twisted.trial.unittest import SynchronousTestCase

from dht14.net.log_limiter import LogLimiter


class LogLimiterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limiter = LogLimiter(0.0)

    def test_bouts(self) -> None:
        """A subject gets one line, and another one after it was not mentioned for a while."""
        quiet = LogLimiter.quiet
        moments = (0.0, 1.0, quiet, 2 * quiet, 2 * quiet + 1)
        self.assertEqual(
            [self.limiter.may_log("x", now) for now in moments], [True, False, False, True, False]
        )

    def test_subjects(self) -> None:
        """Each subject is limited for itself."""
        self.assertEqual([self.limiter.may_log(subject, 0.0) for subject in "xyx"], [True, True, False])

    def test_flood(self) -> None:
        """A flood of new and old subjects gets a line a second after the first burst."""
        logged = sum(self.limiter.may_log(number % 5000, number / 100) for number in range(20_000))
        self.assertLessEqual(logged, 60 + 200)
        self.assertGreaterEqual(logged, 200)

    def test_memory(self) -> None:
        """When the memory is full, the oldest subject is forgotten first."""
        for number in range(LogLimiter.max_subjects + 1):
            self.limiter.may_log(number, 0.0)
        self.assertTrue(self.limiter.may_log(0, 1000.0))
        self.assertFalse(self.limiter.may_log(LogLimiter.max_subjects, 1.0))
