"""Between datagram and message: who sent it, and whether it may be believed. DESIGN 4.2.

`Session` is the place for the sealed sessions of a hostile network. `PlainSession` seals nothing: each
datagram names its sender and is believed. It serves trusted networks and simulations.
"""

from typing import Protocol

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes


class Session(Protocol):
    """Turns messages into datagrams and back."""

    def seal(self, payload: bytes, address: Address) -> bytes:
        """The datagram that carries `payload` to `address`."""

    def open(self, datagram: bytes, address: Address) -> tuple[Contact, bytes]:
        """Who sent the datagram, and its payload; Malformed when it is not to be believed."""


PLAIN = 0x50
"""First byte of a plain datagram: `0x50 | sender's node id 32 | payload`."""


@frozen
class PlainSession:
    """No secrecy and no proof: for trusted networks and for simulations."""

    _header: bytes

    @classmethod
    def of(cls, own_id: int) -> "PlainSession":
        """The session layer of the node with this id."""
        return cls(bytes([PLAIN]) + id_to_bytes(own_id))

    def seal(self, payload: bytes, address: Address) -> bytes:
        """As `Session.seal`."""
        return self._header + payload

    def open(self, datagram: bytes, address: Address) -> tuple[Contact, bytes]:
        """As `Session.open`."""
        if len(datagram) <= 1 + ID_BYTES or datagram[0] != PLAIN:
            raise Malformed("not a plain datagram")
        return Contact(id_from_bytes(datagram[1 : 1 + ID_BYTES]), address), datagram[1 + ID_BYTES :]
