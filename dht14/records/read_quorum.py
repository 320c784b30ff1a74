"""What the holders of one key say they have, and whom of them the greatest record rests on."""

from collections.abc import Container

from attrs import define, field

from dht14.kademlia.parameters import LAPSE_WITNESSES
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Kind, Record
from dht14.records.version_floors import Floor

Rank = tuple[Kind, int, bytes]


@define
class ReadQuorum:
    """The records and claims that one get has heard of. The greatest wins; a claim proves nothing yet.

    A copy of what has been replaced may come back when what replaced it has expired: from a node that was away
    meanwhile, or that nobody takes for a holder. It counts for nothing where more holders say that it is over
    than have it.

    Whether enough holders have it is for the lookup to say, which knows who is near: `Lookup.missing_votes`.
    """

    _heard: dict[Rank, Record | AdvertisedRecord] = field(factory=dict, init=False)
    """Of a record and a claim of it the record."""
    _holders: dict[Rank, set[int]] = field(factory=dict, init=False)
    """The ids of those whose word counts."""
    _lapsed: dict[int, Floor] = field(factory=dict, init=False)
    """What holders remember of records that have expired, by their ids."""

    @property
    def best(self) -> Record | AdvertisedRecord | None:
        """The greatest record heard of so far."""
        rank = self._best
        return None if rank is None else self._heard[rank]

    @property
    def best_record(self) -> Record | None:
        """The greatest of those whose value is here."""
        records = [found for found in self._heard.values() if isinstance(found, Record)]
        standing = (record for record in records if self._stands(record.rank))
        return max(standing, key=lambda record: record.rank, default=None)

    @property
    def holders(self) -> Container[int]:
        """Those that have the greatest record, by id."""
        rank = self._best
        return () if rank is None else self._holders[rank]

    @property
    def is_proven(self) -> bool:
        """Whether the greatest record proves itself: content needs no second holder."""
        best = self.best
        return isinstance(best, Record) and best.kind is Kind.CONTENT

    def add(self, found: Record | AdvertisedRecord, holder: int | None) -> None:
        """One more holder has this record, or says so. `holder` is None where its word does not count."""
        rank = found.rank
        if isinstance(found, Record) or rank not in self._heard:
            self._heard[rank] = found
        holders = self._holders.setdefault(rank, set())
        if holder is not None:
            holders.add(holder)

    def has_lapsed(self, floor: Floor, holder: int) -> None:
        """A holder says that what it had of the key has expired."""
        self._lapsed[holder] = floor

    @property
    def _best(self) -> Rank | None:
        return max(filter(self._stands, self._heard), default=None)

    def _stands(self, rank: Rank) -> bool:
        witnesses = sum(floor >= rank[:2] for floor in self._lapsed.values())
        return witnesses < LAPSE_WITNESSES or witnesses <= len(self._holders[rank])

    def claims_above(self, record: Record | None) -> list[AdvertisedRecord]:
        """The claims that are greater than this record, the greatest first."""
        floor = None if record is None else record.rank
        ranks = (
            rank
            for rank, found in self._heard.items()
            if isinstance(found, AdvertisedRecord) and self._stands(rank)
        )
        above = sorted((rank for rank in ranks if floor is None or rank > floor), reverse=True)
        return [found for rank in above if isinstance(found := self._heard[rank], AdvertisedRecord)]
