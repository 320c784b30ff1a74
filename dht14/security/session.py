"""Between datagram and message: who sent it, and whether it may be believed. DESIGN 4.2.

`Session` is the place for the sealed sessions of a hostile network. `PlainSession` seals nothing: each
datagram names its sender and is believed. It serves trusted networks and simulations.
"""

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.security.identity import PROOF_BYTES


class Session(Protocol):
    """Turns messages into datagrams and back."""

    def seal(self, payload: bytes, address: Address) -> bytes:
        """The datagram that carries `payload` to `address`."""

    def open(self, datagram: bytes, address: Address) -> tuple[Contact, bytes]:
        """Who sent the datagram, and its payload; Malformed when it is not to be believed."""


PLAIN = 0x50
"""First byte of a plain datagram: `0x50 | sender's proof 48 | payload`."""


@frozen
class PlainSession:
    """No secrecy and no proof: for trusted networks and for simulations."""

    _header: bytes
    _check: Callable[[bytes], int]

    @classmethod
    def of(cls, own_proof: bytes, check: Callable[[bytes], int]) -> "PlainSession":
        """The session layer of the node with this proof; `check` tells the id that a proof is of."""
        return cls(bytes([PLAIN]) + own_proof, check)

    def seal(self, payload: bytes, address: Address) -> bytes:
        """As `Session.seal`."""
        return self._header + payload

    def open(self, datagram: bytes, address: Address) -> tuple[Contact, bytes]:
        """As `Session.open`."""
        if len(datagram) <= 1 + PROOF_BYTES or datagram[0] != PLAIN:
            raise Malformed("not a plain datagram")
        proof = datagram[1 : 1 + PROOF_BYTES]
        return Contact(self._check(proof), address, proof), datagram[1 + PROOF_BYTES :]
