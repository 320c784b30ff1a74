"""What the contacts that one get asked had under its key."""

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.storage.ballot import Rank
from dht14.storage.record import Record


@define(eq=False)
class Answers:
    """What the contacts that one get asked had under the key."""

    _held: list[tuple[Contact, Rank | None]] = field(factory=list, init=False)

    def has(self, contact: Contact, rank: Rank) -> None:
        """It has a record of this rank, or says so."""
        self._held.append((contact, rank))

    def lacks(self, contact: Contact) -> None:
        """It has none."""
        self._held.append((contact, None))

    def behind(self, winner: Record) -> list[Contact]:
        """Those that had nothing, or less than the winner."""
        rank = winner.rank
        return [contact for contact, held in self._held if held is None or held < rank]

    def lacking(self) -> list[Contact]:
        """Those that had nothing."""
        return [contact for contact, held in self._held if held is None]
