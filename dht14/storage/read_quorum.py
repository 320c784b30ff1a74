"""What the holders of one key say they have, and whom of them the greatest record rests on."""

from collections.abc import Container

from attrs import define, field

from dht14.storage.claim import Claim
from dht14.storage.record import Kind, Record

Rank = tuple[Kind, int, bytes]


@define
class ReadQuorum:
    """The records and claims that one get has heard of. The greatest wins; a claim proves nothing yet.

    Whether enough holders have it is for the lookup to say, which knows who is near: `Lookup.missing_votes`.
    """

    _heard: dict[Rank, Record | Claim] = field(factory=dict, init=False)
    """Of a record and a claim of it the record."""
    _holders: dict[Rank, set[int]] = field(factory=dict, init=False)
    """The ids of those whose word counts."""
    _best: Rank | None = field(default=None, init=False)

    @property
    def best(self) -> Record | Claim | None:
        """The greatest record heard of so far."""
        return None if self._best is None else self._heard[self._best]

    @property
    def best_record(self) -> Record | None:
        """The greatest of those whose value is here."""
        records = (rank for rank, found in self._heard.items() if isinstance(found, Record))
        rank = max(records, default=None)
        found = None if rank is None else self._heard[rank]
        return found if isinstance(found, Record) else None

    @property
    def holders(self) -> Container[int]:
        """Those that have the greatest record, by id."""
        return () if self._best is None else self._holders[self._best]

    @property
    def is_proven(self) -> bool:
        """Whether the greatest record proves itself: content needs no second holder."""
        best = self.best
        return isinstance(best, Record) and best.kind is Kind.CONTENT

    def add(self, found: Record | Claim, holder: int | None) -> None:
        """One more holder has this record, or says so. `holder` is None where its word does not count."""
        rank = found.rank
        if isinstance(found, Record) or rank not in self._heard:
            self._heard[rank] = found
        holders = self._holders.setdefault(rank, set())
        if holder is not None:
            holders.add(holder)
        if self._best is None or rank > self._best:
            self._best = rank

    def claims_above(self, record: Record | None) -> list[Claim]:
        """The claims that are greater than this record, the greatest first."""
        floor = None if record is None else record.rank
        ranks = (rank for rank, found in self._heard.items() if isinstance(found, Claim))
        above = sorted((rank for rank in ranks if floor is None or rank > floor), reverse=True)
        return [found for rank in above if isinstance(found := self._heard[rank], Claim)]
