"""The shipped database on virtual time."""

import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.records.record import Record, version_at
from dht14.records.store import LocalStore, Outcome, Verdict
from dht14.sim.clock import HeapClock, Process
from dht14.sim.virtual_disk import OPEN_SECONDS, DiskFault, VirtualDisk

NOW = 1_700_000_000.0


def record(key: int, value: bytes = b"a value") -> Record:
    return Record(key, value, version_at(NOW), NOW + 3600, 8)


class VirtualDiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = HeapClock(NOW)
        self.disk = VirtualDisk(str(Path(self.mktemp())), random.Random(1))
        self.addCleanup(self.disk.crashed)
        self.told: list[Outcome] = []
        self.begin()

    def begin(self) -> None:
        """The next process that uses the disk."""
        self.process = Process(self.clock)
        opened: list[float] = []
        make_store = self.disk.store_of(self.process, lambda: opened.append(self.clock.seconds()))
        self.store: LocalStore = make_store(1, 1 << 24, lambda record: True, 86_400.0, 1.0)
        self.wait(1.0)
        self.assertEqual(len(opened), 1)

    def wait(self, seconds: float) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)

    def offer(self, key: int) -> None:
        def tell(verdict: Verdict) -> None:
            self.told.append(verdict.outcome)

        self.store.offer(record(key), self.process.seconds(), tell)

    def holds(self, key: int) -> bool:
        return self.store.get(key, self.process.seconds()) == record(key)

    def test_flush(self) -> None:
        """A record is held, and found, when the flush has ended; what comes meanwhile waits for the next."""
        self.disk.flush_seconds = 1.0
        self.offer(1)
        self.wait(0.5)
        self.offer(2)
        self.assertEqual((self.told, self.holds(1)), ([], False))
        self.wait(0.5)
        self.assertEqual((self.told, self.holds(1), self.holds(2)), ([Outcome.HELD], True, False))
        self.wait(1.0)
        self.assertEqual((len(self.told), self.holds(2)), (2, True))
        self.store.check_invariants()

    def test_killed(self) -> None:
        """What a killed process was told is there in its next life; what it had not written is not."""
        self.offer(1)
        self.wait(1.0)
        self.offer(2)
        self.process.kill()
        self.disk.crashed()
        self.begin()
        self.assertEqual(self.told, [Outcome.HELD])
        self.assertEqual((self.holds(1), self.holds(2), len(self.store)), (True, False, 1))

    def test_closed(self) -> None:
        """A process that ends writes what waits."""
        self.offer(1)
        self.store.close()  # type: ignore[attr-defined]
        self.begin()
        self.assertTrue(self.holds(1))

    def test_clock_set(self) -> None:
        """What is held lives on while the wall clock is set, and as long as it should after a restart with
        the right one."""
        self.offer(1)
        self.wait(1.0)
        for skew in (90_000.0, -90_000.0, 0.0):
            self.process.skew = skew
            self.store.expire(self.process.seconds())
            self.wait(60.0)
            self.assertTrue(self.holds(1))
        self.process.kill()
        self.disk.crashed()
        self.begin()
        self.assertTrue(self.holds(1))
        self.wait(NOW + 3600 - self.clock.seconds() - 1)
        self.assertTrue(self.holds(1))
        self.wait(1.0)
        self.assertFalse(self.holds(1))

    def test_down(self) -> None:
        """A record expires while nobody uses the disk, too."""
        self.offer(1)
        self.wait(1.0)
        self.process.kill()
        self.disk.crashed()
        self.wait(3600.0)
        self.begin()
        self.assertFalse(self.holds(1))

    def test_erased(self) -> None:
        """An erased disk holds nothing."""
        self.offer(1)
        self.wait(1.0)
        self.process.kill()
        self.disk.erase()
        self.begin()
        self.assertEqual(len(self.store), 0)

    def test_faults(self) -> None:
        """A disk that refuses makes the store refuse, which goes on when the disk does."""
        for key, fault in enumerate(DiskFault):
            self.disk.fault = fault
            self.offer(key)
            self.wait(1.0)
            self.assertFalse(self.holds(key))
            self.disk.fault = None
            self.offer(key)
            self.wait(1.0)
            self.assertTrue(self.holds(key))
        self.assertEqual(self.told, [Outcome.REFUSED, Outcome.HELD] * 2)

    def test_frozen(self) -> None:
        """A frozen process writes when it thaws."""
        self.offer(1)
        self.process.freeze()
        self.wait(1.0)
        self.assertEqual(self.told, [])
        self.process.thaw()
        self.wait(1.0)
        self.assertEqual((self.told, self.holds(1)), ([Outcome.HELD], True))

    def test_opening(self) -> None:
        """What is offered before the database is open is answered then."""
        self.process.kill()
        self.disk.crashed()
        self.process = Process(self.clock)
        self.store = self.disk.store_of(self.process, lambda: None)(
            1, 1 << 24, lambda record: True, 86_400.0, 1.0
        )
        self.offer(1)
        self.wait(OPEN_SECONDS / 2)
        self.assertEqual(self.told, [])
        self.wait(1.0)
        self.assertEqual(self.told, [Outcome.HELD])
