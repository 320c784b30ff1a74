"""What several holders say is under one key, and when that is settled. DESIGN 3, "Lookup"."""

from attrs import define, field

from dht14.storage.record import Kind, Record

READ_QUORUM = 3
"""Holders that must agree on the newest plain value before a read ends early."""


@define
class Ballot:
    """Counts holders of the newest record. Content proves itself and needs no second holder."""

    quorum: int = READ_QUORUM
    """How many holders settle it."""
    winner: Record | None = field(default=None, init=False)
    """The greatest record seen so far."""
    missing: int = field(init=False)
    """How many more holders must have the winner before asking others is not worth the while."""
    _rank: tuple[Kind, int, bytes] | None = field(default=None, init=False)
    """Of the winner."""

    def __attrs_post_init__(self) -> None:
        self.missing = self.quorum

    def cast(self, record: Record, near: bool) -> None:
        """One more holder has this record.

        One that is not `near` the key shows that the record exists, but does not count as a holder: its
        copy may be a stray of an earlier write.
        """
        rank = record.rank
        if self._rank is None or rank > self._rank:
            self.winner, self._rank = record, rank
            self.missing = self.quorum
        if rank == self._rank:
            self.missing = 0 if rank[0] is Kind.CONTENT else self.missing - near

    @property
    def settled(self) -> bool:
        """Whether no more holders are needed."""
        return self.missing <= 0
