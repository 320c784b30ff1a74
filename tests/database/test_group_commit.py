from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.group_commit import (
    PUTS_WAITING,
    TELLS_A_PLACE,
    TELLS_WAITING,
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
    """A `WriterThread` that takes batches, and is done with them when the test says so."""

    batches: "list[tuple[Changes, Callable[[Written], None]]]" = field(factory=list)

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        self.batches.append((changes, done))

    def go_on(self) -> None:
        """All that was handed over is on the disk, and all that is handed over meanwhile."""
        while self.batches:
            self.batches.pop(0)[1](Written(Usage()))


class WaitingTests(SynchronousTestCase):
    """Who waits for a disk that hangs."""

    def setUp(self) -> None:
        self.disk = HangingDisk()
        self.commits = GroupCommit(cast(WriterThread, self.disk), 1 << 20, lambda written: None)
        self.commits.paused = False
        self.told: list[Verdict] = []

    def put(self, place: int, version: int = 1) -> None:
        one: Any = record(place, version=version)
        verdict = Verdict(Outcome.HELD, version, replication=one.replication)
        self.commits.put(_place(place), one, bytes(100), Growth(0, {}), self.told.append, verdict)

    def test_same_again(self) -> None:
        """Of those who repeat one request a few wait; the others are refused at once, and keep nobody else out."""
        self.put(1)
        for _ in range(200_000):
            self.commits.tell(_place(1), self.told.append, HELD)
        self.assertEqual(self.told, [NO_ROOM] * (200_001 - TELLS_A_PLACE))
        self.assertFalse(self.commits.has_room(_place(1)))
        self.assertTrue(self.commits.has_room(_place(2)))
        self.told.clear()
        self.disk.go_on()
        self.assertEqual([verdict.outcome for verdict in self.told], [Outcome.HELD] * TELLS_A_PLACE)

    def test_all_places(self) -> None:
        """Nor are there more than so many in all, and when they have been told there is room again."""
        places = TELLS_WAITING // TELLS_A_PLACE + 1
        self.assertLess(places, PUTS_WAITING)
        for place in range(places):
            if self.commits.has_room(_place(place)):
                self.put(place)
            for _ in range(TELLS_A_PLACE):
                self.commits.tell(_place(place), self.told.append, HELD)
        self.assertFalse(self.commits.has_room(_place(places)))
        self.told.clear()
        self.disk.go_on()
        self.assertEqual(len(self.told), TELLS_WAITING)
        self.assertTrue(self.commits.has_room(_place(0)))

    def test_rising_versions(self) -> None:
        """One key that is written again and again while the disk hangs is no way around that."""
        version = 1
        while self.commits.has_room(_place(1)):
            self.put(1, version)
            version += 1
        self.assertEqual(version - 1, TELLS_A_PLACE)


def _place(number: int) -> bytes:
    return number.to_bytes(16, "big")
