from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from dht14.maintenance.abreast import abreast


class AbreastTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def job(self) -> None:
        self.waiting.append(Deferred())
        await self.waiting[-1]

    def jobs(self, count: int) -> Iterator[Any]:
        return (self.job() for _ in range(count))

    def test_width(self) -> None:
        """So many jobs are under way at a time, and the next begins when one has ended."""
        done = abreast(self.jobs(5), 2)
        self.assertEqual(len(self.waiting), 2)
        self.waiting[1].callback(None)
        self.assertEqual(len(self.waiting), 3)
        for one in (0, 2, 3, 4):
            self.assertNoResult(done)
            self.waiting[one].callback(None)
        self.successResultOf(done)

    def test_nothing(self) -> None:
        """Nothing to do is done at once."""
        self.successResultOf(abreast(self.jobs(0), 3))

    def test_cancelled(self) -> None:
        """Cancelled, the jobs under way are, and no other begins."""
        done = abreast(self.jobs(5), 2)
        done.cancel()
        self.failureResultOf(done)
        self.assertEqual(len(self.waiting), 2)
        for one in self.waiting:
            self.assertTrue(one.called)
