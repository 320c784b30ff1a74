from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Kind, Record
from dht14.records.version_floors import NO_FLOOR, Floor, floor_of
from dht14.sim.memory_store import Floors
from tests.owners import Owner

NOW = 1_700_000_000.0
CONTENT = Record(key=hash_id(b"content"), value=b"content", version=5, expires_at=NOW, replication=8)


def record(
    key: int = 5, version: int = 7, expires_at: float = NOW, writer: int = 0, is_brief: bool = False
) -> Record:
    return Record(
        key=key,
        value=b"v",
        version=version,
        expires_at=expires_at,
        replication=8,
        writer=writer,
        is_brief=is_brief,
    )


class FloorTests(SynchronousTestCase):
    def test_stops(self) -> None:
        """A floor covers the record that left it and all older ones, and no newer one."""
        floor = floor_of(record(version=7))
        self.assertEqual(
            [floor.covers(record(version=version)) for version in (6, 7, 8)], [True, True, False]
        )

    def test_kinds(self) -> None:
        """The floor of an owner's record covers every open one, not the reverse; content leaves no floor
        and is never covered."""
        owner = Owner(1)
        owned = floor_of(owner.record(b"x", 3, NOW))
        self.assertEqual(owned, Floor(Kind.OWNER, 3))
        self.assertTrue(owned.covers(record(version=1 << 60)))
        self.assertTrue(owned.covers(owner.record(b"y", 3, NOW)))
        self.assertFalse(owned.covers(owner.record(b"", 4, NOW)))
        self.assertFalse(floor_of(record(version=1 << 60)).covers(owner.record(b"x", 1, NOW)))
        self.assertIs(floor_of(CONTENT), NO_FLOOR)
        self.assertFalse(owned.covers(CONTENT))

    def test_none(self) -> None:
        """The floor of a key without expired records covers nothing."""
        self.assertFalse(NO_FLOOR.covers(record(version=0)))


class DisplacedCases:
    """Which floors are forgotten with a limit of three: the same for every table of floors."""

    assertEqual: Callable[..., None]
    assertTrue: Callable[..., None]

    def leave(self, *expired: Record) -> None:
        """These records expired, in this order."""
        raise NotImplementedError

    def remembered(self) -> list[int]:
        """The keys below 100 that have a floor."""
        raise NotImplementedError

    def is_remembered(self, one: Record) -> bool:
        """Whether the floor of its key is that of this record."""
        raise NotImplementedError

    def test_brief(self) -> None:
        """The floor of a brief record displaces only those of other brief records, and of any writer."""
        self.leave(*(record(key, writer=1) for key in range(2)))
        self.leave(*(record(key, writer=key, is_brief=True) for key in range(10, 20)))
        first, second, *others = self.remembered()
        self.assertEqual((first, second, len(others)), (0, 1, 1))
        self.leave(record(2, writer=1))
        self.assertEqual(self.remembered(), [0, 1, 2])

    def test_shares(self) -> None:
        """The writer with the most floors loses one, the oldest first: no writer displaces those of
        others."""
        self.leave(record(0, writer=1))
        self.leave(*(record(key, writer=2, expires_at=NOW + key) for key in range(10, 20)))
        self.assertEqual(self.remembered(), [0, 18, 19])

    def test_owners_stay(self) -> None:
        """Of one writer the floors of owners' records stay longest."""
        deleted = Owner(1).record(b"", 2, NOW)
        self.leave(deleted, *(record(key, expires_at=NOW + key) for key in range(10)))
        self.assertEqual(self.remembered(), [8, 9])
        self.assertTrue(self.is_remembered(deleted))


class FloorsTests(DisplacedCases, SynchronousTestCase):
    def setUp(self) -> None:
        self.floors = Floors(100.0, limit=3)

    def test_left(self) -> None:
        """A floor is remembered for a time after the expiry, not after its discovery."""
        self.floors.leave(record(expires_at=NOW - 40), NOW)
        self.assertEqual(self.floors.of(5, NOW + 59.9), Floor(Kind.OPEN, 7))
        self.assertIs(self.floors.of(5, NOW + 60), NO_FLOOR)
        self.assertIs(self.floors.of(6, NOW), NO_FLOOR)

    def test_too_late(self) -> None:
        """Content, and records that expired long ago, leave no floor."""
        self.floors.leave(record(expires_at=NOW - 100), NOW)
        self.floors.leave(CONTENT, NOW)
        self.assertEqual(len(self.floors), 0)

    def leave(self, *expired: Record) -> None:
        for one in expired:
            self.floors.leave(one, NOW)

    def remembered(self) -> list[int]:
        return [key for key in range(100) if self.floors.of(key, NOW) is not NO_FLOOR]

    def is_remembered(self, one: Record) -> bool:
        return self.floors.of(one.key, NOW) == floor_of(one)

    def test_bounded(self) -> None:
        """Over the limit the oldest are forgotten, together with those whose time is over."""
        for key in range(5):
            self.floors.leave(record(key), NOW)
        self.assertEqual([self.floors.of(key, NOW).version for key in range(5)], [-1, -1, 7, 7, 7])
        self.floors.leave(record(9, expires_at=NOW + 100), NOW + 100)
        self.assertEqual(len(self.floors), 1)

    def test_again(self) -> None:
        """A key whose next record expires, too, has one floor, the newer one, which counts as just left."""
        for key in range(3):
            self.floors.leave(record(key), NOW)
        self.floors.leave(record(0, version=8), NOW)
        self.floors.leave(record(7), NOW)
        self.assertEqual([self.floors.of(key, NOW).version for key in (0, 1)], [8, -1])
