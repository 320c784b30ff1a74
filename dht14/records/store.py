"""The interface of a node's record store, and the rules by which one record replaces another.

A store reports the verdict on an offered record to a callback: a store on disk knows it only after a commit.
"""

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Protocol

from attrs import evolve, frozen

from dht14.records.kept import KeptList
from dht14.records.record import BRIEF_TTL, Kind, Record
from dht14.records.version_floors import NO_FLOOR, Floor


class Outcome(Enum):
    """The result of an offer."""

    HELD = "held"
    """The store holds it, or the same value of the same version for at least as long."""
    OUTRANKED = "outranked"
    """The store holds a newer record of the key, or held one that has expired since."""
    REFUSED = "refused"
    """The store holds neither it nor a newer one; `Refusal` says why."""


class Refusal(IntEnum):
    """Why a record is refused. The numbers are those of the REFUSED message."""

    NO_VALUES = 1
    """The node stores no values: a bootstrap node."""
    NOT_NEAR = 2
    """Too many nodes are nearer to the key."""
    NO_ROOM = 3
    """The store is full, or its disk fails."""
    SHARE = 4
    """The writer, or its subnet, has used up its share of the store."""
    LEAVING = 5
    """The node is stopping."""
    VERSION = 6
    """The version is from the future."""
    INVALID = 7
    """The record is not authentic, or has expired."""
    NOT_WATCHED = 8
    """The node does not watch the key."""


ROUTINE_REFUSALS = frozenset({Refusal.NO_VALUES, Refusal.NOT_NEAR, Refusal.LEAVING, Refusal.NOT_WATCHED})
"""What nodes of a healthy network say as well: ask another one. A bootstrap node says it to every writer."""


@frozen
class Verdict:
    """The result of an offer, and the version that the key has now."""

    outcome: Outcome
    version: int
    refusal: Refusal = Refusal.NO_ROOM
    """Why, if the outcome is REFUSED."""
    replication: int = 0
    """If the outcome is HELD: the copies that the record has, or that the replaced record had if those
    were more."""


PAGE_RECORDS = 32
PAGE_BYTES = 1 << 18
"""Limits of one page: to read it takes one or two milliseconds."""

BEGINNING = b""
"""The mark before the first page."""


@frozen
class Page:
    """Some records of a store, and the mark after which the next page begins; None: this was the last
    page."""

    records: list[Record]
    mark: bytes | None


@frozen
class StoreSpace:
    """The bytes of a store."""

    used: int
    limit: int
    largest_share: int
    """Of the writer, or the subnet of writers, that holds most. With thousands of writers this follows only
    some calls later."""


class RecordStore(Protocol):
    """A store of records. `now` is in seconds."""

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        """Hold the record if the rules and the space allow it. Call `on_verdict` as soon as that is safe
        on disk."""

    def get(self, key: int, now: float) -> Record | None:
        """Return the record held under `key`, unless it has expired."""

    def is_in_place(self) -> bool:
        """Return whether what it holds is still where it was stored. `get` may find records that are gone
        when this process ends: no receipt must rest on them."""

    def is_replacing(self, record: Record) -> bool:
        """Return whether this node was given a greater record, which waits for the disk, or for which there
        was no room. `get` returns this one meanwhile: it must not count as the newest that the node was
        given."""

    def floor(self, key: int, now: float) -> Floor:
        """Return the version floor of the key: records that are not above it have expired."""

    def expire(self, now: float) -> object:
        """Drop the records that have expired, now or soon."""


class LocalStore(RecordStore, Protocol):
    """A store as the composition root and maintenance use it."""

    @property
    def kept(self) -> KeptList:
        """The list of the values that this node renews; it has room of its own."""

    def page(self, mark: bytes, now: float) -> Page:
        """Return the records after a mark, ordered approximately by distance from this node: keys that are
        near each other are adjacent. Records that come or go during a scan may be missing."""

    def is_open(self) -> bool:
        """Return whether its records can be read: a store on disk is opened in the background."""

    def hangs(self) -> bool:
        """Return whether a write has been waiting for the disk for so long that writers have given this node
        up: it may hold older records than other nodes."""

    def space(self) -> StoreSpace:
        """Report the bytes in use. Reads the shares of many writers: not for a hot path."""

    def __len__(self) -> int:
        """The number of records held, including expired ones that were not yet dropped."""

    def overrule(
        self, record: Record, now: float, latest: int, on_verdict: Callable[[Verdict], None]
    ) -> None:
        """As `offer`, but what is held, or has expired, of an open version above `latest` does not count."""

    def lapse(self, record: Record, floor: Floor, now: float) -> None:
        """Drop this record, as if it had expired: one that has replaced it has, and leaves this `floor`."""

    def check_invariants(self) -> None:
        """Raise AssertionError if the store contradicts itself; for tests and the simulator."""


ANY_VERSION = (1 << 64) - 1
"""The greatest version that there can be."""


def believed(held: Record | None, floor: Floor, latest: int) -> tuple[Record | None, Floor]:
    """Return what counts of a key: no open version above `latest`, which a clock that was fast has made."""
    if held is not None and held.kind is Kind.OPEN and held.version > latest:
        held = None
    if floor.kind == Kind.OPEN and floor.version > latest:
        floor = NO_FLOOR
    return held, floor


def judge(offered: Record, held: Record | None, floor: Floor, now: float) -> Verdict | None:
    """Return the verdict on an offered record as far as records decide it; None: hold it if there is space.

    `held` must not have expired. `floor` is the version of the record that has: a delayed copy of that
    record, or of an older one, must not come back.
    """
    version = max(held.version if held else 0, floor.version)
    if held is not None and (rank := held.rank) >= (rank_offered := offered.rank):
        if rank > rank_offered:
            return Verdict(Outcome.OUTRANKED, version)
        if merged(offered, held, now) == held:
            return Verdict(Outcome.HELD, version, replication=held.replication)
    if offered.expires_at <= now:
        return Verdict(Outcome.REFUSED, version, Refusal.INVALID)
    if floor.covers(offered):
        return Verdict(Outcome.OUTRANKED, version)
    return None


def required_copies(offered: Record, held: Record | None) -> int:
    """Return the number of copies that the writer must make: at least as many as the replaced record has,
    or old copies would survive on other nodes."""
    return max(offered.replication, held.replication if held is not None else 0)


def conflicting_record(store: RecordStore, record: Record, now: float) -> Record | None:
    """Return the record held, if it conflicts with a new owner's record. `offer` itself uses only the
    total order, so that all replicas converge on the same record."""
    held = store.get(record.key, now) if record.is_owned else None
    return held if held is not None and record.conflicts_with(held) else None


def merged(offered: Record, held: Record | None, now: float) -> Record:
    """Return the record to hold after `offered`, which is not outranked, arrived beside `held`.

    Only the value of a record is proven, so a copy must not reduce anything. Of two copies of one record each
    field keeps its greater value, and a cached copy never changes a real one. The record keeps using the
    share of its first writer, and does not become brief near the end of its life.
    """
    is_brief = offered.expires_at - now < BRIEF_TTL
    if held is None or offered.rank != held.rank:
        return evolve(offered, is_brief=True) if is_brief else offered
    copies = max(offered.replication, held.replication)
    if offered.is_cached != held.is_cached:
        return held if offered.is_cached else evolve(offered, is_brief=is_brief)
    expires_at = max(offered.expires_at, held.expires_at)
    return evolve(held, expires_at=expires_at, replication=copies, is_brief=is_brief and held.is_brief)
