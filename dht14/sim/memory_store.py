"""A bounded store in memory, for networks of many nodes in one process, and for tests.

It decides as the database does, without a disk and without a thread.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from attrs import define, field

from dht14.database.limits import EVICTION_TRIES, NO_SHORTFALL, Growth, Shortfall, SpaceLimits, refusal_for
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.record import Kind, Record
from dht14.records.store import (
    ANY_VERSION,
    PAGE_RECORDS,
    Outcome,
    Page,
    StoreSpace,
    Verdict,
    believed,
    judge,
    merged,
    required_copies,
)
from dht14.records.version_floors import FLOOR_MARGIN, MAX_FLOORS, NO_FLOOR, Floor, floor_of
from dht14.sim.memory_kept import MemoryKept
from dht14.stack import StoreOptions

RECORD_OVERHEAD = 400
"""Bytes that a record takes beside its value: measured on CPython 3.11 with 100,000 records."""


@define
class _FloorGroup:
    """The keys of the floors that one writer has left, in that order."""

    open: dict[int, None] = field(factory=dict)
    owned: dict[int, None] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.open) + len(self.owned)

    def keys_of(self, kind: int) -> dict[int, None]:
        return self.owned if kind == Kind.OWNER else self.open


class _Left(NamedTuple):
    floor: Floor
    until: float
    """When it is forgotten."""
    group: tuple[bool, int]
    """Whether its record was brief, and its writer."""


@define
class Floors:
    """The version floors of a store in memory, at most `limit`."""

    seconds: float
    """How long an older copy of the key can outlive an expired record."""
    limit: int = MAX_FLOORS
    _floors: dict[int, _Left] = field(factory=dict, init=False)
    """By key, in the order in which they were left."""
    _groups: dict[tuple[bool, int], _FloorGroup] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._floors)

    def of(self, key: int, now: float) -> Floor:
        """Return the floor of a key."""
        left = self._floors.get(key)
        return left.floor if left is not None and left.until > now else NO_FLOOR

    def leave(self, record: Record, now: float) -> None:
        """Leave the floor of a record that has expired."""
        floor, until = floor_of(record), record.expires_at + self.seconds
        if floor is not NO_FLOOR and until > now:
            self.put(record, floor, until)
        while self._floors and self._oldest_until() <= now:
            self._forget(next(iter(self._floors)))
        while len(self._floors) > self.limit:
            self._forget(self._least_missed())

    def put(self, record: Record, floor: Floor, until: float) -> None:
        """Leave a floor in place of a record, until this time."""
        self._forget(record.key)
        left = self._floors[record.key] = _Left(floor, until, (record.is_brief, record.writer))
        self._groups.setdefault(left.group, _FloorGroup()).keys_of(floor.kind)[record.key] = None

    def _least_missed(self) -> int:
        group = self._groups[max(self._groups, key=lambda group: (group[0], len(self._groups[group])))]
        return next(iter(group.open or group.owned))

    def _forget(self, key: int) -> None:
        left = self._floors.pop(key, None)
        if left is not None:
            group = self._groups[left.group]
            del group.keys_of(left.floor.kind)[key]
            if not group:
                del self._groups[left.group]

    def _oldest_until(self) -> float:
        return next(iter(self._floors.values())).until


@define
class MemoryStore:
    """Records in a dict, lost when the process ends.

    A full store drops expired records first. Then it drops the farthest records that this node does not
    answer for, cached ones before others. It never drops a record that it answers for: a new record is
    refused then. It also refuses a record over the share of its writer or of the writer's subnet, and a
    cached copy that would displace another record.
    """

    own_id: int
    limit: int
    """Bytes, including `RECORD_OVERHEAD` for each record."""
    answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to the key of a record, of as many as its replication."""
    max_ttl: float = 86_400.0
    """The longest life of a record, in seconds."""
    writer_share: float = 1.0
    """Multiple of the free bytes that a writer, or a subnet of writers, may hold."""
    kept: MemoryKept = field(factory=MemoryKept, init=False)
    """As `LocalStore`."""
    size: int = field(default=0, init=False)
    _records: dict[int, Record] = field(factory=dict, init=False)
    _deadlines: list[tuple[float, int]] = field(factory=list, init=False)
    """A heap of (expiry, key). Items of replaced or evicted records stay in it for a while."""
    _distances: list[int] = field(factory=list, init=False)
    """The distances of all keys from the own id, sorted."""
    _shares: dict[bytes, int] = field(factory=dict, init=False)
    """Bytes of each party (`Record.parties`)."""
    _floors: Floors = field(init=False)

    @classmethod
    def of(cls, options: StoreOptions) -> "MemoryStore":
        """Make the store of a node."""
        return cls(options.own_id, options.limit, options.answers_for, options.max_ttl, options.writer_share)

    def __attrs_post_init__(self) -> None:
        self._floors = Floors(self.max_ttl + FLOOR_MARGIN, min(MAX_FLOORS, self.limit >> 10))

    def __len__(self) -> int:
        return len(self._records)

    def space(self) -> StoreSpace:
        """As `LocalStore.space`."""
        return StoreSpace(self.size, self.limit, max(self._shares.values(), default=0))

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        """As `RecordStore.offer`; reports the verdict before it returns."""
        on_verdict(self._judge(record, now, ANY_VERSION))

    def overrule(
        self, record: Record, now: float, latest: int, on_verdict: Callable[[Verdict], None]
    ) -> None:
        """As `LocalStore.overrule`."""
        on_verdict(self._judge(record, now, latest))

    def _judge(self, record: Record, now: float, latest: int) -> Verdict:
        held = self._records.get(record.key)
        if held is not None and held.expires_at <= now:
            self._lapse(held, now)
            held = None
        held, floor = believed(held, self._floors.of(record.key, now), latest)
        verdict = judge(record, held, floor, now)
        if verdict is not None:
            return verdict
        copies = required_copies(record, held)
        record = merged(record, held, now)
        held_version = held.version if held else 0
        refusal = refusal_for(self._evict_for(record, now))
        if refusal is not None:
            return Verdict(Outcome.REFUSED, held_version, refusal)
        self._hold(record)
        return Verdict(Outcome.HELD, record.version, replication=copies)

    def lapse(self, record: Record, floor: Floor, now: float) -> None:
        """As `LocalStore.lapse`."""
        if self._records.get(record.key) == record:
            self._floors.put(record, floor, now + self._floors.seconds)
            self._drop(record.key)

    def get(self, key: int, now: float) -> Record | None:
        """As `RecordStore.get`."""
        record = self._records.get(key)
        return record if record is not None and record.expires_at > now else None

    def is_in_place(self) -> bool:
        """As `RecordStore.is_in_place`."""
        return True

    def is_replacing(self, record: Record) -> bool:
        """As `RecordStore.is_replacing`."""
        return False

    def is_open(self) -> bool:
        """As `LocalStore.is_open`."""
        return True

    def hangs(self) -> bool:
        """As `LocalStore.hangs`."""
        return False

    def floor(self, key: int, now: float) -> Floor:
        """As `RecordStore.floor`."""
        record = self._records.get(key)
        left = self._floors.of(key, now)
        if record is None or record.expires_at > now or record.expires_at + self._floors.seconds <= now:
            return left
        return max(left, floor_of(record))

    def page(self, mark: bytes, now: float) -> Page:
        """As `LocalStore.page`. A mark is the distance of the last record."""
        first = bisect_right(self._distances, id_from_bytes(mark)) if mark else 0
        distances = self._distances[first : first + PAGE_RECORDS]
        held = (self._records[distance ^ self.own_id] for distance in distances)
        is_last = first + PAGE_RECORDS >= len(self._distances)
        return Page(
            [record for record in held if record.expires_at > now],
            None if is_last else id_to_bytes(distances[-1]),
        )

    def expire(self, now: float) -> int:
        """As `RecordStore.expire`, at once. Returns the number of dropped records."""
        dropped = 0
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heappop(self._deadlines)
            record = self._records.get(key)
            if record is not None and record.expires_at <= now:
                self._lapse(record, now)
                dropped += 1
        return dropped

    def _evict_for(self, record: Record, now: float) -> Shortfall:
        """Evict until the record can be held. Return what is missing then."""
        held = self._records.get(record.key)
        growth = _size(record) - (0 if held is None else _size(held))
        if SpaceLimits(self.limit, self.writer_share).is_far_from_full(self.size, growth):
            return NO_SHORTFALL
        shortfall = self._shortfall(record)
        if shortfall.needed and self.expire(now):
            shortfall = self._shortfall(record)
        while 0 < shortfall.needed <= self.size and (evictable := self._evictable(record)):
            for key in evictable:
                if shortfall.needed:
                    self._drop(key)
                    shortfall = self._shortfall(record)
        return shortfall

    def _shortfall(self, record: Record) -> Shortfall:
        growth = _growth(record, self._records.get(record.key))
        limits = SpaceLimits(self.limit, self.writer_share)
        if record.writer in (0, self.own_id):
            return limits.shortfall(self.size, growth.total, None)
        parties = ((self._shares.get(party, 0), more) for party, more in growth.of_parties.items())
        return limits.shortfall(self.size, growth.total, parties)

    def _evictable(self, newcomer: Record) -> list[int]:
        """Return some keys whose records can be evicted for this one, in this order."""
        if newcomer.is_cached:
            return []
        records = [self._records[d ^ self.own_id] for d in self._distances[: -EVICTION_TRIES - 1 : -1]]
        evictable = [r for r in records if r.key != newcomer.key and not self.answers_for(r)]
        return [record.key for record in sorted(evictable, key=lambda record: not record.is_cached)]

    def _hold(self, record: Record) -> None:
        self._drop(record.key)
        self._records[record.key] = record
        self.size += _size(record)
        self._charge(record, _size(record))
        insort(self._distances, record.key ^ self.own_id)
        heappush(self._deadlines, (record.expires_at, record.key))
        self._tidy_deadlines()

    def _tidy_deadlines(self) -> None:
        if len(self._deadlines) > _max_deadlines(len(self._records)):
            self._deadlines = [(held.expires_at, key) for key, held in self._records.items()]
            heapify(self._deadlines)

    def _lapse(self, expired: Record, now: float) -> None:
        self._floors.leave(expired, now)
        self._drop(expired.key)

    def _drop(self, key: int) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self.size -= _size(record)
            self._charge(record, -_size(record))
            del self._distances[bisect_left(self._distances, key ^ self.own_id)]
            self._tidy_deadlines()

    def _charge(self, record: Record, growth: int) -> None:
        for party in record.parties:
            share = self._shares.pop(party, 0) + growth
            if share:
                self._shares[party] = share

    def check_invariants(self) -> None:
        """As `LocalStore.check_invariants`."""
        shares: Counter[bytes] = Counter()
        open_to_others: Counter[bytes] = Counter()
        for record in self._records.values():
            size = dict.fromkeys(record.parties, _size(record))
            shares.update(size)
            open_to_others.update(size if record.writer != self.own_id else {})
        assert self._shares == shares
        needed = (
            SpaceLimits(self.limit, self.writer_share).open_to_others
            * self.writer_share
            / (1 + self.writer_share)
        )
        assert max(open_to_others.values(), default=0) <= needed
        assert self.size == sum(map(_size, self._records.values())) <= self.limit
        assert self._distances == sorted(key ^ self.own_id for key in self._records)
        assert {(held.expires_at, key) for key, held in self._records.items()} <= set(self._deadlines)
        assert len(self._deadlines) <= _max_deadlines(len(self._records))


def _size(record: Record) -> int:
    return RECORD_OVERHEAD + len(record.value)


def _growth(record: Record, replaced: Record | None) -> Growth:
    """Return the growth of the store when it holds the record."""
    of_parties = dict.fromkeys(record.parties, _size(record))
    if replaced is None:
        return Growth(_size(record), of_parties)
    for party in replaced.parties:
        of_parties[party] = of_parties.get(party, 0) - _size(replaced)
    return Growth(_size(record) - _size(replaced), of_parties)


def _max_deadlines(records: int) -> int:
    # A client that overwrites one key for ever must not fill the memory with deadlines of old records.
    return 2 * records + 64
