"""The bounded store of one node's records, in memory.

`RecordStore` is what the rest of the node knows of it. An outcome is told to a function, because a store
that commits to a disk will know it only later.
"""

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Protocol

from attrs import evolve, frozen

from dht14.records.record import BRIEF, Record
from dht14.records.version_floors import Floor


class Outcome(Enum):
    """What became of a record that was offered."""

    HELD = "held"
    """It is held now, or the same value of the same version is, for at least as long."""
    OUTRANKED = "outranked"
    """A newer one of its key is held, and stays; or one was held that has expired since."""
    REFUSED = "refused"
    """Neither it nor a newer one is held: no room, its writer holds its share, or it is from the future."""


class Refusal(IntEnum):
    """Why a record is refused. The numbers travel in REFUSED."""

    NO_VALUES = 1
    """The node holds no values: a bootstrap node."""
    NOT_NEAR = 2
    """Too many nodes are nearer to the key."""
    NO_ROOM = 3
    """The store is full, or its disk fails."""
    SHARE = 4
    """The writer, or its subnet, holds its share of the store."""
    LEAVING = 5
    """The node is about to stop."""
    VERSION = 6
    """The version is from the future."""
    INVALID = 7
    """The record is not what it claims to be, or has expired."""


@frozen
class Verdict:
    """What became of a record that was offered, and the version that its key has come to."""

    outcome: Outcome
    version: int
    refusal: Refusal = Refusal.NO_ROOM
    """Why it was refused, where the outcome is REFUSED."""
    replication: int = 0
    """Where the outcome is HELD: copies that the record has, or that the one had which it has replaced if those
    were more."""


PAGE_RECORDS = 32
PAGE_BYTES = 1 << 18
"""What one page of a store holds at most: to read it takes a millisecond or two."""

BEGINNING = b""
"""The mark before the first page."""


@frozen
class Page:
    """Some of the records of a store, and the mark behind which the next ones stand; None: there are none."""

    records: list[Record]
    mark: bytes | None


@frozen
class StoreSpace:
    """The bytes of a store."""

    used: int
    limit: int
    largest_share: int
    """Of the writer, or the subnet of writers, that holds most."""


class RecordStore(Protocol):
    """Where records are held. `now` is in seconds."""

    def offer(self, record: Record, now: float, tell: Callable[[Verdict], None]) -> None:
        """Hold the record if it may be held, and tell when it is safe."""

    def get(self, key: int, now: float) -> Record | None:
        """The record held under `key`, unless it has expired."""

    def floor(self, key: int, now: float) -> Floor:
        """What is remembered of records of this key that have expired: what is not above it is over."""

    def expire(self, now: float) -> object:
        """Drop what has expired, now or soon."""


class LocalStore(RecordStore, Protocol):
    """A store as its builder, and upkeep, see it."""

    def page(self, mark: bytes, now: float) -> Page:
        """The records behind a mark, in the order of their distances from this node, about: keys that are
        near to each other follow each other. What comes and goes meanwhile may be met or not."""

    def space(self) -> StoreSpace:
        """Report the bytes in use. Reads the shares of all writers: not for a hot path."""

    def __len__(self) -> int:
        """How many records are held, expired ones that were not yet dropped included."""

    def check_invariants(self) -> None:
        """Raise AssertionError where the store contradicts itself; for tests and the simulator."""


def judge(offered: Record, held: Record | None, floor: Floor, now: float) -> Verdict | None:
    """What is to become of a record, as far as records decide it; None: hold it if there is room.

    `held` has not expired; `floor` is what has: a copy of it that is still under way somewhere, or of
    anything older, does not come back.
    """
    version = max(held.version if held else 0, floor.version)
    if held is not None and (rank := held.rank) >= (rank_offered := offered.rank):
        if rank > rank_offered:
            return Verdict(Outcome.OUTRANKED, version)
        if merged(offered, held, now) == held:
            return Verdict(Outcome.HELD, version, replication=held.replication)
    if offered.expires_at <= now:
        return Verdict(Outcome.REFUSED, version, Refusal.INVALID)
    if floor.stops(offered):
        return Verdict(Outcome.OUTRANKED, version)
    return None


def copies_of(offered: Record, held: Record | None) -> int:
    """Copies that the writer must see to: as many as the record that it replaces has, or copies of that would
    outlive it somewhere."""
    return max(offered.replication, held.replication if held is not None else 0)


def conflicting_record(store: RecordStore, record: Record, now: float) -> Record | None:
    """What is held, where it conflicts with an owner's record that is new. `offer` itself knows of nothing
    but the order, so that copies settle on the same record everywhere."""
    held = store.get(record.key, now) if record.is_owned else None
    return held if held is not None and record.conflicts_with(held) else None


def merged(offered: Record, held: Record | None, now: float) -> Record:
    """What is held after `offered`, which is not outranked, has come to what is held now.

    Nothing of a record but its value is proven, so no copy may take anything away. Of two copies of one record
    each field keeps the greater of its values, and a cached copy never changes a real one; the first writer
    stays the one whose share it counts for. Nor does it become a brief one near the end of its life.
    """
    is_brief = offered.expires_at - now < BRIEF
    if held is None or offered.rank != held.rank:
        return evolve(offered, is_brief=True) if is_brief else offered
    copies = max(offered.replication, held.replication)
    if offered.is_cached != held.is_cached:
        return held if offered.is_cached else evolve(offered, is_brief=is_brief)
    expires_at = max(offered.expires_at, held.expires_at)
    return evolve(held, expires_at=expires_at, replication=copies, is_brief=is_brief and held.is_brief)
