"""The two kinds of transfer on the bulk channel, for which tickets are issued."""

from attrs import frozen

from dht14.kademlia.contact import Contact
from dht14.security.identity import public_key_in
from dht14.security.tickets import Tickets
from dht14.wire.messages import Offer


@frozen
class Upload:
    """The value of a record that this node wants."""

    offer: Offer
    writer: Contact
    offered_at: float
    """Seconds. The remaining lifetime of the record counts from then on."""

    @property
    def length(self) -> int:
        """Bytes of the value."""
        return self.offer.length


@frozen
class Download:
    """The value of a record that this node holds."""

    key: int
    version: int
    length: int
    """Bytes of the value."""


Transfer = Upload | Download


def issue_ticket(tickets: Tickets[Transfer], peer: Contact, transfer: Transfer, now: float) -> bytes:
    """Return a new ticket with which only this peer can make the transfer."""
    return tickets.issue(public_key_in(peer.proof), transfer, transfer.length, now)
