"""The two kinds of transfer on the bulk channel, for which tickets are issued."""

from attrs import frozen

from dht14.kademlia.contact import Contact
from dht14.wire.messages import Offer


@frozen
class Upload:
    """The value of a record that this node wants."""

    offer: Offer
    writer: Contact
    offered_at: float
    """Seconds. The remaining lifetime of the record counts from then on."""


@frozen
class Download:
    """The value of a record that this node holds."""

    key: int
    version: int
    length: int
    """Bytes."""


Transfer = Upload | Download
