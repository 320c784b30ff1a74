"""Whether there is room for a record: what leaves for it, and why it is refused."""

from attrs import define

from dht14.database.eviction import Eviction, ReadSnapshot
from dht14.database.group_commit import GroupCommit
from dht14.database.health import DatabaseHealth
from dht14.database.limits import NO_SHORTFALL, Growth, Shortfall, SpaceLimits
from dht14.records.record import Record
from dht14.records.store import Refusal


@define(eq=False)
class Admission:
    """Admits records to one database. `size` is that of the database in bytes, as of the last commit."""

    _own_id: int
    """The node's own id: its own records need no share."""
    _space: SpaceLimits
    _commits: GroupCommit
    _eviction: Eviction
    _health: DatabaseHealth
    _read_snapshot: ReadSnapshot

    def refusal(self, slot: bytes, record: Record, growth: Growth, size: int, now: float) -> Refusal | None:
        """Return why a record with this growth cannot be held; None if there is space, perhaps after
        drops."""
        if not self._commits.may_put(slot):
            return Refusal.NO_ROOM
        shortfall = self._shortfall(record, growth, size)
        if shortfall.needed:
            self._make_room(slot, record, shortfall.needed, size, now)
            shortfall = self._shortfall(record, growth, size)
        return self._health.refusal_for(shortfall, size, now)

    def _shortfall(self, record: Record, growth: Growth, size: int) -> Shortfall:
        """Return the bytes that are missing; pending records count as held."""
        used = size + self._commits.growth
        if record.writer in (0, self._own_id):
            return self._space.shortfall(used, growth.total, None)
        if self._space.is_far_from_full(used, max(growth.total, 0)):
            return NO_SHORTFALL
        grown = {tag: more for tag, more in growth.of_parties.items() if more > 0}
        held = self._read_snapshot(lambda txn, tables: {tag: tables.share(txn, tag) for tag in grown}, grown)
        parties = ((held[tag] + self._commits.party_growth[tag], more) for tag, more in grown.items())
        return self._space.shortfall(used, growth.total, parties)

    def _make_room(self, slot: bytes, record: Record, needed: float, size: int, now: float) -> None:
        """Plan to drop expired and evictable records, until `needed` more bytes are free."""
        target_growth = self._commits.growth - needed
        self._eviction.expire(now)
        may_evict = not record.is_cached and self._eviction.may_evict(now) and needed <= size
        if self._commits.growth > target_growth and may_evict:
            self._eviction.evict(slot, target_growth, now)
        self._commits.send()
