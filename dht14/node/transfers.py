"""What tickets are given out for: the two ways of the bulk channel."""

from attrs import frozen

from dht14.kademlia.contact import Contact
from dht14.wire.messages import Offer


@frozen
class Upload:
    """The value of a record that this node wants to have."""

    offer: Offer
    writer: Contact
    offered_at: float
    """Seconds; what is left to live runs from here on."""


@frozen
class Download:
    """The value of a record that this node holds."""

    key: int
    version: int
    length: int


Transfer = Upload | Download
