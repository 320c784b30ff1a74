"""What several holders say is under one key, and when that is settled. DESIGN 3, "Lookup"."""

from attrs import define, field

from dht14.storage.claim import Claim
from dht14.storage.record import Kind, Record

READ_QUORUM = 3
"""Holders that must agree on the newest plain value before a read ends early."""

Rank = tuple[Kind, int, bytes]


@define
class Ballot:
    """Counts holders of the newest record. Content proves itself and needs no second holder; a claim of content
    proves nothing."""

    quorum: int = READ_QUORUM
    """How many holders settle it."""
    missing: int = field(init=False)
    """How many more holders must have the winner before asking others is not worth the while."""
    _seen: dict[Rank, Record | Claim] = field(factory=dict, init=False)
    """Everything that was seen; of a record and a claim of it the record."""
    _rank: Rank | None = field(default=None, init=False)
    """Of the winner."""

    def __attrs_post_init__(self) -> None:
        self.missing = self.quorum

    @property
    def winner(self) -> Record | Claim | None:
        """The greatest record seen or told of so far."""
        return None if self._rank is None else self._seen[self._rank]

    def cast(self, found: Record | Claim, near: bool) -> None:
        """One more holder has this record, or says so.

        One that is not `near` the key shows that the record exists, but does not count as a holder: its
        copy may be a stray of an earlier write.
        """
        rank = found.rank
        is_record = isinstance(found, Record)
        if is_record or rank not in self._seen:
            self._seen[rank] = found
        if self._rank is None or rank > self._rank:
            self._rank = rank
            self.missing = self.quorum
        if rank == self._rank:
            self.missing = 0 if is_record and rank[0] is Kind.CONTENT else self.missing - near

    def strike_out(self) -> None:
        """The winner is not to be had from anybody: the next best is it."""
        if self._rank is not None:
            del self._seen[self._rank]
            self._rank = max(self._seen, default=None)

    @property
    def settled(self) -> bool:
        """Whether no more holders are needed."""
        return self.missing <= 0
