"""What several holders say is under one key, and when that is settled. DESIGN 3, "Lookup"."""

from attrs import define, field

from dht14.kademlia.parameters import READ_QUORUM
from dht14.storage.record import Kind, Record


@define
class Ballot:
    """Counts holders of the newest record. Content proves itself and needs no second holder."""

    winner: Record | None = field(default=None, init=False)
    """The greatest record seen so far."""
    _votes: int = field(default=0, init=False)

    def cast(self, record: Record) -> None:
        """One more holder has this record."""
        if self.winner is None:
            self.winner, self._votes = record, 1
        elif self._is_the_winner(record):
            self._votes += 1
        elif record.rank > self.winner.rank:
            self.winner, self._votes = record, 1

    def _is_the_winner(self, record: Record) -> bool:
        assert self.winner is not None
        return record.version == self.winner.version and record.value == self.winner.value

    @property
    def settled(self) -> bool:
        """Whether asking further holders is not worth the while."""
        if self.winner is None:
            return False
        return self._votes >= READ_QUORUM or self.winner.kind is Kind.CONTENT
