"""What the holders of one key answered to a GET, and which record wins."""

from collections.abc import Collection

from attrs import define, evolve, field

from dht14.kademlia.parameters import LAPSE_WITNESSES
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Kind, Record
from dht14.records.version_floors import NO_FLOOR, Floor

Rank = tuple[Kind, int, bytes]


@define
class ReadQuorum:
    """The records and the advertised records that one GET has received. The greatest wins; an advertised
    record proves nothing before its value is fetched.

    When a record expires, an older copy that it had replaced can come back: from a node that was offline, or
    from one that is no holder any more. That copy does not count where more nodes report its expiry than hold
    it.

    Whether enough nodes hold the winner is decided by the lookup, which knows who is near:
    `Lookup.missing_votes`.
    """

    _heard: dict[Rank, Record | AdvertisedRecord] = field(factory=dict, init=False)
    """By rank; a record replaces an advertised record of the same rank. Of several copies the later end and
    the greater number of copies count, as in a store: one holder can make no record end sooner."""
    _holders: dict[Rank, set[int]] = field(factory=dict, init=False)
    """The ids of the nodes whose answer counts, by rank."""
    _expired: dict[int, Floor] = field(factory=dict, init=False)
    """The version floors that nodes remember of expired records, by node id."""
    _best: Rank | None = field(default=None, init=False)
    """The greatest rank that counts: every answer is compared with it, several times."""

    @property
    def best(self) -> Record | AdvertisedRecord | None:
        """The greatest record received or advertised so far."""
        rank = self._best
        return None if rank is None else self._heard[rank]

    @property
    def best_record(self) -> Record | None:
        """The greatest record whose value was received."""
        if isinstance(best := self.best, Record):
            return best
        records = [found for found in self._heard.values() if isinstance(found, Record)]
        standing = (record for record in records if self.counts(record.rank))
        return max(standing, key=lambda record: record.rank, default=None)

    @property
    def holders(self) -> Collection[int]:
        """The ids of the nodes that hold the greatest record."""
        rank = self._best
        return () if rank is None else self._holders[rank]

    @property
    def is_proven(self) -> bool:
        """Whether the greatest record proves itself: content needs no second holder."""
        best = self.best
        return isinstance(best, Record) and best.kind is Kind.CONTENT

    def add(self, found: Record | AdvertisedRecord, holder: int | None) -> None:
        """Add a record that a node sent or advertised. `holder` is None where the answer of that node does
        not count."""
        rank = found.rank
        held = self._heard.get(rank)
        self._heard[rank] = found if held is None else _merged(held, found)
        holders = self._holders.setdefault(rank, set())
        if holder is not None:
            holders.add(holder)
        self._find_best()

    def copy_in(self, value: bytes, version: int) -> Record | None:
        """Return the greatest record if these are its value and version. Most answers of a read are copies of
        the first one."""
        best = self.best
        if isinstance(best, Record) and best.version == version and best.value == value:
            return best
        return None

    def reported_expired(self, floor: Floor, holder: int) -> None:
        """A node reported that its record of the key has expired."""
        if floor != NO_FLOOR:
            self._expired[holder] = floor
            self._find_best()

    def is_over(self, rank: Rank, unheard: int = 0) -> bool:
        """Whether more nodes than hold this record remember a greater one that has expired. `unheard`: nodes
        that count as holders of it, because they have not answered."""
        witnesses = sum(floor > rank[:2] for floor in self._expired.values())
        return witnesses >= LAPSE_WITNESSES and witnesses > len(self._holders.get(rank, ())) + unheard

    @property
    def floor(self) -> Floor:
        """The greatest floor that LAPSE_WITNESSES nodes remember, or greater ones."""
        floors = sorted(self._expired.values(), reverse=True)
        return floors[LAPSE_WITNESSES - 1] if len(floors) >= LAPSE_WITNESSES else NO_FLOOR

    def _find_best(self) -> None:
        standing = filter(self.counts, self._heard) if self._expired else self._heard
        self._best = max(standing, default=None)

    def counts(self, rank: Rank, unproven: int = 0) -> bool:
        """Whether no more nodes than hold this record remember that it, or a greater one, has expired.
        `unproven`: further nodes that say they hold it."""
        holders = len(self._holders.get(rank, ())) + unproven
        witnesses = self._witnesses(rank, holders)
        return witnesses < LAPSE_WITNESSES or witnesses <= holders

    def _witnesses(self, rank: Rank, holders: int) -> int:
        """Count the nodes that remember that this record, or a greater one, has expired. That the record
        itself has expired does not count against several that hold it: it was renewed, and who was away then
        has seen the end of the life before."""
        of_itself = holders < LAPSE_WITNESSES
        return sum(floor > rank[:2] or (of_itself and floor == rank[:2]) for floor in self._expired.values())

    def is_contested(self, unheard: int) -> bool:
        """Whether a record does not count that would if these `unheard` nodes held it, too."""
        return any(not self.counts(rank) and self.counts(rank, unheard) for rank in self._holders)

    def advertised_above(self, record: Record | None) -> list[AdvertisedRecord]:
        """Return the advertised records that are greater than `record`, the greatest first."""
        if record is not None and record is self.best:
            return []
        floor = None if record is None else record.rank
        ranks = (
            rank
            for rank, found in self._heard.items()
            if isinstance(found, AdvertisedRecord) and self.counts(rank)
        )
        above = sorted((rank for rank in ranks if floor is None or rank > floor), reverse=True)
        return [found for rank in above if isinstance(found := self._heard[rank], AdvertisedRecord)]


def _merged(one: Record | AdvertisedRecord, other: Record | AdvertisedRecord) -> Record | AdvertisedRecord:
    """Return one of two copies of a record, that with its value, with the greater fields of both."""
    if isinstance(one, Record) == isinstance(other, Record):
        kept = one if one.expires_at >= other.expires_at else other
    else:
        kept = one if isinstance(one, Record) else other
    expires_at = max(one.expires_at, other.expires_at)
    replication = max(one.replication, other.replication)
    if (kept.expires_at, kept.replication) == (expires_at, replication):
        return kept
    return evolve(kept, expires_at=expires_at, replication=replication)
