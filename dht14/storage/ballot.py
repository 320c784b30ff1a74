"""What several holders say is under one key, and when that is settled. DESIGN 3, "Lookup"."""

from attrs import define, field

from dht14.kademlia.parameters import READ_QUORUM
from dht14.storage.record import Kind, Record


@define
class Ballot:
    """Counts holders of the newest record. Content proves itself and needs no second holder."""

    winner: Record | None = field(default=None, init=False)
    """The greatest record seen so far."""
    missing: int = field(default=READ_QUORUM, init=False)
    """How many more holders must have the winner before asking others is not worth the while."""

    def cast(self, record: Record) -> None:
        """One more holder has this record."""
        if self.winner is not None and self._is_the_winner(record):
            self.missing -= 1
        elif self.winner is None or record.rank > self.winner.rank:
            self.winner = record
            self.missing = 0 if record.kind is Kind.CONTENT else READ_QUORUM - 1

    def _is_the_winner(self, record: Record) -> bool:
        assert self.winner is not None
        return record.version == self.winner.version and record.value == self.winner.value

    @property
    def settled(self) -> bool:
        """Whether no more holders are needed."""
        return self.missing <= 0
