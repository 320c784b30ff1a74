"""The shipped database on virtual time."""

import random
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.health import HANG_SECONDS
from dht14.records.record import Record, version_at
from dht14.records.store import LocalStore, Outcome, Verdict
from dht14.sim.clock import HeapClock, Process
from dht14.sim.virtual_disk import HANG_LOOK, OPEN_SECONDS, DiskFault, VirtualDisk
from dht14.stack import StoreOptions
from tests.fakes import contact

NOW = 1_700_000_000.0


def record(key: int, value: bytes = b"a value") -> Record:
    return Record(key=key, value=value, version=version_at(NOW), expires_at=NOW + 3600, replication=8)


class VirtualDiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = HeapClock(NOW)
        self.disk = VirtualDisk(str(Path(self.mktemp())), random.Random(1))
        self.addCleanup(self.disk.crashed)
        self.outcomes: list[Outcome] = []
        self.begin()

    def begin(self) -> None:
        """Start the next process that uses the disk."""
        self.process = Process(self.clock)
        opened: list[float] = []
        make_store = self.disk.store_of(self.process, lambda: opened.append(self.clock.seconds()))
        self.store: LocalStore = make_store(
            StoreOptions(
                own_id=1, limit=1 << 24, answers_for=lambda record: True, max_ttl=86_400.0, writer_share=1.0
            )
        )
        self.wait(1.0)
        self.assertEqual(len(opened), 1)

    def wait(self, seconds: float) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)

    def offer(self, key: int) -> None:
        def on_verdict(verdict: Verdict) -> None:
            self.outcomes.append(verdict.outcome)

        self.store.offer(record(key), self.process.seconds(), on_verdict)

    def holds(self, key: int) -> bool:
        return self.store.get(key, self.process.seconds()) == record(key)

    def test_flush(self) -> None:
        """A record is held, and found, when the flush has ended; later records wait for the next flush."""
        self.disk.flush_seconds = 1.0
        self.offer(1)
        self.wait(0.5)
        self.offer(2)
        self.assertEqual((self.outcomes, self.holds(1)), ([], False))
        self.wait(0.5)
        self.assertEqual((self.outcomes, self.holds(1), self.holds(2)), ([Outcome.HELD], True, False))
        self.wait(1.0)
        self.assertEqual((len(self.outcomes), self.holds(2)), (2, True))
        self.store.check_invariants()

    def test_killed(self) -> None:
        """The next process finds the records that a killed process had confirmed, and no others."""
        self.offer(1)
        self.wait(1.0)
        self.offer(2)
        self.process.kill()
        self.disk.crashed()
        self.begin()
        self.assertEqual(self.outcomes, [Outcome.HELD])
        self.assertEqual((self.holds(1), self.holds(2), len(self.store)), (True, False, 1))

    def test_closed(self) -> None:
        """A process that ends writes its pending changes."""
        self.offer(1)
        self.store.close()  # type: ignore[attr-defined]
        self.begin()
        self.assertTrue(self.holds(1))

    def test_clock_set(self) -> None:
        """Records keep their lifetime while the wall clock is set, and after a restart with the right
        clock."""
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
        """A record expires also while no process uses the disk."""
        self.offer(1)
        self.wait(1.0)
        self.process.kill()
        self.disk.crashed()
        self.wait(3600.0)
        self.begin()
        self.assertFalse(self.holds(1))

    def test_erased(self) -> None:
        """An erased disk is empty."""
        self.offer(1)
        self.wait(1.0)
        self.process.kill()
        self.disk.erase()
        self.begin()
        self.assertEqual(len(self.store), 0)

    def test_contacts(self) -> None:
        """A process that knew no contact leaves those of the one before; an erased disk has none."""
        known = contact(7)
        self.disk.crashed([known])
        self.begin()
        self.disk.crashed([])
        self.assertEqual(self.disk.contacts, (known,))
        self.disk.erase()
        self.assertEqual(self.disk.contacts, ())

    def test_hangs(self) -> None:
        """While the disk hangs nothing is held or refused. The store says which record is to be replaced, at
        once, and after a while that the disk hangs; both are over when the disk has written."""
        self.offer(1)
        self.wait(1.0)
        newer = evolve(record(1), version=record(1).version + 1)
        self.disk.hangs = True
        self.store.offer(newer, self.process.seconds(), lambda verdict: self.outcomes.append(verdict.outcome))
        self.assertEqual(
            [self.store.is_replacing(held) for held in (record(1), newer, record(2))], [True, False, False]
        )
        self.wait(HANG_SECONDS)
        self.assertFalse(self.store.hangs())
        self.wait(HANG_LOOK)
        self.assertEqual((self.store.hangs(), self.holds(1), len(self.outcomes)), (True, True, 1))
        self.disk.hangs = False
        self.wait(HANG_LOOK)
        self.assertEqual(self.outcomes, [Outcome.HELD] * 2)
        self.assertEqual((self.store.hangs(), self.store.is_replacing(record(1))), (False, False))

    def test_faults(self) -> None:
        """While the disk refuses the store refuses; it works again when the disk does."""
        for key, fault in enumerate(DiskFault):
            self.disk.fault = fault
            self.offer(key)
            self.wait(1.0)
            self.assertFalse(self.holds(key))
            self.disk.fault = None
            self.offer(key)
            self.wait(1.0)
            self.assertTrue(self.holds(key))
        self.assertEqual(self.outcomes, [Outcome.REFUSED, Outcome.HELD] * 2)

    def test_frozen(self) -> None:
        """A frozen process writes when it thaws."""
        self.offer(1)
        self.process.freeze()
        self.wait(1.0)
        self.assertEqual(self.outcomes, [])
        self.process.thaw()
        self.wait(1.0)
        self.assertEqual((self.outcomes, self.holds(1)), ([Outcome.HELD], True))

    def test_opening(self) -> None:
        """Records offered before the database is open are answered once it is."""
        self.process.kill()
        self.disk.crashed()
        self.process = Process(self.clock)
        self.store = self.disk.store_of(self.process, lambda: None)(
            StoreOptions(
                own_id=1, limit=1 << 24, answers_for=lambda record: True, max_ttl=86_400.0, writer_share=1.0
            )
        )
        self.offer(1)
        self.wait(OPEN_SECONDS / 2)
        self.assertEqual(self.outcomes, [])
        self.wait(1.0)
        self.assertEqual(self.outcomes, [Outcome.HELD])
