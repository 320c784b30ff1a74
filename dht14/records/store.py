"""The bounded store of one node's records, in memory.

`RecordStore` is what the rest of the node knows of it. An outcome is told to a function, because a store
that commits to a disk will know it only later.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from enum import Enum, IntEnum
from heapq import heapify, heappop, heappush
from typing import Protocol

from attrs import define, evolve, field, frozen

from dht14.database.limits import Growth, Lack, Room
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.pages import PAGE_RECORDS, Page
from dht14.records.record import BRIEF, Record
from dht14.records.version_floors import MARGIN, MAX_FLOORS, Floor, Floors, floor_of


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


class Store(RecordStore, Protocol):
    """A store as its builder, and upkeep, see it."""

    def page(self, mark: bytes, now: float) -> Page:
        """The records behind a mark, in the order of their distances from this node, about: keys that are
        near to each other follow each other. What comes and goes meanwhile may be met or not."""

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


def in_the_way(store: RecordStore, record: Record, now: float) -> Record | None:
    """What is held, where it conflicts with an owner's record that is new. `offer` itself knows of nothing
    but the order, so that copies settle on the same record everywhere."""
    held = store.get(record.key, now) if record.is_owned else None
    return held if held is not None and record.conflicts_with(held) else None


def refusal_for(lack: Lack) -> Refusal | None:
    """Why a record is refused for which so much is lacking; None where nothing is."""
    if lack.room > 0:
        return Refusal.NO_ROOM
    return Refusal.SHARE if lack.share > 0 else None


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


RECORD_OVERHEAD = 400
"""Bytes a record takes beside its value: measured on CPython 3.11 with 100,000 records."""

EVICTION_TRIES = 32
"""How many records are considered for eviction before a new one is refused."""


@define
class MemoryStore:
    """Records in a dict. They are gone when the process ends.

    Full, it drops first what has expired, then of the farthest records that this node does not answer for
    those that are cached, then the farthest; a record that it answers for is never dropped for a newcomer, which is refused then.
    Refused is also what would pass the share of its writer or of the writer's subnet, and a cached copy that would
    displace anything.
    """

    own_id: int
    limit: int
    """Bytes, `RECORD_OVERHEAD` for each record included."""
    answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to a record's key, as many as its replication."""
    max_ttl: float = 86_400.0
    """Seconds that a record lives at most."""
    writer_share: float = 1.0
    """How many times the bytes that are free a writer, or a subnet of writers, may hold."""
    size: int = field(default=0, init=False)
    _records: dict[int, Record] = field(factory=dict, init=False)
    _deadlines: list[tuple[float, int]] = field(factory=list, init=False)
    """A heap of (expiry, key); those of records since replaced or evicted are left in it for a while."""
    _distances: list[int] = field(factory=list, init=False)
    """Of all keys from the own id, sorted."""
    _shares: dict[bytes, int] = field(factory=dict, init=False)
    """Bytes of each party that is known (`Record.parties`)."""
    _floors: Floors = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._floors = Floors(self.max_ttl + MARGIN, min(MAX_FLOORS, self.limit >> 10))

    def __len__(self) -> int:
        return len(self._records)

    def offer(self, record: Record, now: float, tell: Callable[[Verdict], None]) -> None:
        """As `RecordStore.offer`; it tells before it returns."""
        tell(self._judge(record, now))

    def _judge(self, record: Record, now: float) -> Verdict:
        held = self._records.get(record.key)
        if held is not None and held.expires_at <= now:
            self._lapse(held, now)
            held = None
        verdict = judge(record, held, self._floors.of(record.key, now), now)
        if verdict is not None:
            return verdict
        copies = copies_of(record, held)
        record = merged(record, held, now)
        held_version = held.version if held else 0
        refusal = refusal_for(self._make_room(record, now))
        if refusal is not None:
            return Verdict(Outcome.REFUSED, held_version, refusal)
        self._hold(record)
        return Verdict(Outcome.HELD, record.version, replication=copies)

    def get(self, key: int, now: float) -> Record | None:
        """As `RecordStore.get`; expiry is looked at here, swept or not."""
        record = self._records.get(key)
        return record if record is not None and record.expires_at > now else None

    def floor(self, key: int, now: float) -> Floor:
        """As `RecordStore.floor`."""
        record = self._records.get(key)
        left = self._floors.of(key, now)
        return left if record is None or record.expires_at > now else max(left, floor_of(record))

    def page(self, mark: bytes, now: float) -> Page:
        """As `RecordStore.page`. A mark is the distance of the last one."""
        first = bisect_right(self._distances, id_from_bytes(mark)) if mark else 0
        distances = self._distances[first : first + PAGE_RECORDS]
        held = (self._records[distance ^ self.own_id] for distance in distances)
        is_last = first + PAGE_RECORDS >= len(self._distances)
        return Page(
            [record for record in held if record.expires_at > now],
            None if is_last else id_to_bytes(distances[-1]),
        )

    def expire(self, now: float) -> int:
        """As `RecordStore.expire`; at once, and tells how many records that were."""
        dropped = 0
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heappop(self._deadlines)
            record = self._records.get(key)
            if record is not None and record.expires_at <= now:
                self._lapse(record, now)
                dropped += 1
        return dropped

    def _make_room(self, record: Record, now: float) -> Lack:
        """Evict until the record may be held; what is lacking then."""
        lack = self._lack(record)
        if lack.most and self.expire(now):
            lack = self._lack(record)
        while 0 < lack.most <= self.size and (spare := self._spare(record)):
            for key in spare:
                if lack.most:
                    self._drop(key)
                    lack = self._lack(record)
        return lack

    def _lack(self, record: Record) -> Lack:
        growth = _growth(record, self._records.get(record.key))
        room = Room(self.limit, self.writer_share)
        if record.writer in (0, self.own_id):
            return room.lack(self.size, growth.total, None)
        parties = ((self._shares.get(party, 0), more) for party, more in growth.of_parties.items())
        return room.lack(self.size, growth.total, parties)

    def _spare(self, newcomer: Record) -> list[int]:
        """Some keys whose records may go for this one, in this order."""
        if newcomer.is_cached:
            return []
        records = [self._records[d ^ self.own_id] for d in self._distances[: -EVICTION_TRIES - 1 : -1]]
        spare = [r for r in records if r.key != newcomer.key and not self.answers_for(r)]
        return [record.key for record in sorted(spare, key=lambda record: not record.is_cached)]

    def _hold(self, record: Record) -> None:
        self._drop(record.key)
        self._records[record.key] = record
        self.size += _size(record)
        self._charge(record, _size(record))
        insort(self._distances, record.key ^ self.own_id)
        heappush(self._deadlines, (record.expires_at, record.key))
        self._tidy_deadlines()

    def _tidy_deadlines(self) -> None:
        if len(self._deadlines) > _most_deadlines(len(self._records)):
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
        """As `Store.check_invariants`."""
        shares: Counter[bytes] = Counter()
        of_others: Counter[bytes] = Counter()
        for record in self._records.values():
            size = dict.fromkeys(record.parties, _size(record))
            shares.update(size)
            of_others.update(size if record.writer != self.own_id else {})
        assert self._shares == shares
        most = Room(self.limit, self.writer_share).of_others * self.writer_share / (1 + self.writer_share)
        assert max(of_others.values(), default=0) <= most
        assert self.size == sum(map(_size, self._records.values())) <= self.limit
        assert self._distances == sorted(key ^ self.own_id for key in self._records)
        assert {(held.expires_at, key) for key, held in self._records.items()} <= set(self._deadlines)
        assert len(self._deadlines) <= _most_deadlines(len(self._records))


def _size(record: Record) -> int:
    return RECORD_OVERHEAD + len(record.value)


def _growth(record: Record, replaced: Record | None) -> Growth:
    """What a store of this kind has more when the record is held."""
    of_parties = dict.fromkeys(record.parties, _size(record))
    if replaced is None:
        return Growth(_size(record), of_parties)
    for party in replaced.parties:
        of_parties[party] = of_parties.get(party, 0) - _size(replaced)
    return Growth(_size(record) - _size(replaced), of_parties)


def _most_deadlines(records: int) -> int:
    # Who overwrites one key for ever must not fill the memory with deadlines of what is long gone.
    return 2 * records + 64
