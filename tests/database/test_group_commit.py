from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.group_commit import (
    SLOT_VERDICTS_LIMIT,
    WAITING_PUTS_LIMIT,
    WAITING_VERDICTS_LIMIT,
    GroupCommit,
)
from dht14.database.limits import Growth
from dht14.database.tables import Changes, Usage
from dht14.database.writer_thread import WriterThread, Written
from dht14.records.store import Outcome, Refusal, Verdict
from tests.database.disk import record

HELD, NO_ROOM = Verdict(Outcome.HELD, 1), Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM)


@define(eq=False)
class HangingDisk:
    """A `WriterThread` that accepts batches, and finishes them when the test says so."""

    batches: "list[tuple[Changes, Callable[[Written], None]]]" = field(factory=list)

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        self.batches.append((changes, done))

    def go_on(self) -> None:
        """Finish all batches, and those that follow meanwhile."""
        while self.batches:
            self.batches.pop(0)[1](Written(Usage()))


class WaitingTests(SynchronousTestCase):
    """Callbacks that wait for a disk that hangs."""

    def setUp(self) -> None:
        self.disk = HangingDisk()
        self.now = 0.0
        self.commits = GroupCommit(
            cast(WriterThread, self.disk), 1 << 20, lambda written: None, lambda: self.now
        )
        self.commits.paused = False
        self.verdicts: list[Verdict] = []

    def put(self, slot: int, version: int = 1) -> None:
        one: Any = record(slot, version=version)
        verdict = Verdict(Outcome.HELD, version, replication=one.replication)
        self.commits.put(slot_of(slot), one, bytes(100), Growth(0, {}), self.verdicts.append, verdict)

    def test_latency(self) -> None:
        """The time of each commit is counted, and the number of those that failed."""
        self.put(1)
        self.now = 0.03
        self.disk.go_on()
        self.put(2)
        self.disk.batches.pop(0)[1](Written(Usage(), failure="disk full"))
        metrics = self.commits.metrics
        self.assertEqual((metrics.latency.count, metrics.latency.total, metrics.failed), (1, 0.03, 1))

    def test_same_again(self) -> None:
        """Of many repetitions of one request some wait; the others are refused at once, and keep no other
        slot out."""
        self.put(1)
        for _ in range(200_000):
            self.commits.report(slot_of(1), self.verdicts.append, HELD)
        self.assertEqual(self.verdicts, [NO_ROOM] * (200_001 - SLOT_VERDICTS_LIMIT))
        self.assertFalse(self.commits.may_put(slot_of(1)))
        self.assertTrue(self.commits.may_put(slot_of(2)))
        self.verdicts.clear()
        self.disk.go_on()
        self.assertEqual([verdict.outcome for verdict in self.verdicts], [Outcome.HELD] * SLOT_VERDICTS_LIMIT)

    def test_all_slots(self) -> None:
        """The number of waiting callbacks is limited in all, too; after they were called others can wait."""
        slots = WAITING_VERDICTS_LIMIT // SLOT_VERDICTS_LIMIT + 1
        self.assertLess(slots, WAITING_PUTS_LIMIT)
        for slot in range(slots):
            if self.commits.may_put(slot_of(slot)):
                self.put(slot)
            for _ in range(SLOT_VERDICTS_LIMIT):
                self.commits.report(slot_of(slot), self.verdicts.append, HELD)
        self.assertFalse(self.commits.may_put(slot_of(slots)))
        self.verdicts.clear()
        self.disk.go_on()
        self.assertEqual(len(self.verdicts), WAITING_VERDICTS_LIMIT)
        self.assertTrue(self.commits.may_put(slot_of(0)))

    def test_rising_versions(self) -> None:
        """To write one key again and again while the disk hangs does not get around that."""
        version = 1
        while self.commits.may_put(slot_of(1)):
            self.put(1, version)
            version += 1
        self.assertEqual(version - 1, SLOT_VERDICTS_LIMIT)


def slot_of(number: int) -> bytes:
    return number.to_bytes(16, "big")
