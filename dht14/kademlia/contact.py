"""A contact: a node's id and where it is reached (the paper's triple of address, port and id)."""

from functools import lru_cache
from typing import NamedTuple

Address = tuple[str, int]
"""A numeric IP address and a port, in the form that Twisted uses."""


class Contact(NamedTuple):
    """One node. `address` serves UDP and, on the same port number, the bulk channel.

    A tuple rather than an attrs class: every FIND_NODE answer makes k contacts, and a tuple costs a third as
    much to make.
    """

    node_id: int
    address: Address
    proof: bytes = b""
    """The proof of work of the id (`security.identity`); empty if only the id is known."""

    def is_same(self, other: "Contact") -> bool:
        """Whether it is the same node at the same address; the proofs may differ."""
        return self.node_id == other.node_id and self.address == other.address


@lru_cache(maxsize=16_384)
def shared_contact(node_id: int, address: Address, proof: bytes) -> Contact:
    """Return the one object that stands for this contact in this process.

    Each node names and proves itself again and again, in datagrams of its own: a contact with all its parts
    takes 300 bytes.
    """
    return Contact(node_id, address, proof)


class Seed(NamedTuple):
    """An entry point to the network: a host name or an address, and a UDP port.

    If `node_id` is given, only the node of that id counts there.
    """

    host: str
    port: int
    node_id: int | None = None
