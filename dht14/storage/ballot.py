"""What several holders say is under one key, and when that is settled. DESIGN 3, "Lookup"."""

from attrs import define, field

from dht14.storage.record import Kind, Record

READ_QUORUM = 3
"""Holders that must agree on the newest plain value before a read ends early."""


@define
class Ballot:
    """Counts holders of the newest record. Content proves itself and needs no second holder."""

    winner: Record | None = field(default=None, init=False)
    """The greatest record seen so far."""
    missing: int = field(default=READ_QUORUM, init=False)
    """How many more holders must have the winner before asking others is not worth the while."""
    _rank: tuple[Kind, int, bytes] | None = field(default=None, init=False)
    """Of the winner."""

    def cast(self, record: Record) -> None:
        """One more holder has this record."""
        rank = record.rank
        if self._rank is None or rank > self._rank:
            self.winner, self._rank = record, rank
            self.missing = 0 if rank[0] is Kind.CONTENT else READ_QUORUM - 1
        elif rank == self._rank:
            self.missing -= 1

    @property
    def settled(self) -> bool:
        """Whether no more holders are needed."""
        return self.missing <= 0
