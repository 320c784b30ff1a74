from itertools import count
from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from dht14.session.ready_ciphers import ReadyCiphers


class Ciphers:
    """A session that notes whether its ciphers are made."""

    def __init__(self) -> None:
        self.are_made = True

    def release_ciphers(self) -> None:
        """The next packet would make them again."""
        self.are_made = False


class ReadyCiphersTests(SynchronousTestCase):
    """Which sessions of a process keep their ciphers."""

    def test_limit(self) -> None:
        """Only the last that made them, up to the limit."""
        ready, sessions = ReadyCiphers(3), [Ciphers() for _ in range(5)]
        for session in sessions:
            ready.made(session)
        self.assertEqual([session.are_made for session in sessions], [False, False, True, True, True])

    def test_busy(self) -> None:
        """A busy session makes them once more for each `limit` quiet ones, not with each packet."""
        ready, busy = ReadyCiphers(10), Ciphers()
        busy.are_made = False
        quiet = [Ciphers() for _ in range(100)]
        made = count()
        for session in quiet:
            if not busy.are_made:
                next(made)
                busy.are_made = True
                ready.made(busy)
            ready.made(session)
        self.assertLessEqual(next(made), len(quiet) // 10 + 1)

    def test_over(self) -> None:
        """A session that is over is not kept for its ciphers: its keys must go."""
        ready, session = ReadyCiphers(1), Ciphers()
        ready.made(session)
        known = ref(session)
        del session
        self.assertIsNone(known())
        ready.made(Ciphers())
