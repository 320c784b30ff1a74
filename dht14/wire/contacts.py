"""Contacts as bytes: how FIND_NODE answers carry them and how they are kept over a restart.

`n4 u16 | n4 × (proof 48 | IPv4 4 | port 2) | any × (proof 48 | IPv6 16 | port 2)`, big-endian. One byte
string is nine times cheaper to encode and decode than an array of arrays. Ids do not travel: whoever reads
a contact computes its id from the proof of work, so nobody can claim one that was not searched for.
"""

import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate, islice

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.security.identity import PROOF_BYTES

Check = Callable[[bytes], int]
"""From a proof to the node id; Malformed when it proves nothing (`security.identity.Puzzle.check`)."""

_COUNT = 2
_IPV4, _IPV6 = PROOF_BYTES + 4 + 2, PROOF_BYTES + 16 + 2
_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def pack_contacts(contacts: Iterable[Contact], room: int | None = None) -> bytes:
    """The contacts as one string of bytes, those with IPv4 addresses first.

    With `room`, in bytes, only the first of them that fit. Those whose proof is not known are left out.
    """
    packed = [_pack(contact) for contact in contacts if contact.proof]
    if room is not None:
        ends = accumulate(map(len, packed), initial=_COUNT)
        packed = [one for one, end in zip(packed, islice(ends, 1, None), strict=False) if end <= room]
    v4 = [one for one in packed if len(one) == _IPV4]
    v6 = [one for one in packed if len(one) == _IPV6]
    return len(v4).to_bytes(_COUNT, "big") + b"".join(v4 + v6)


def unpack_contacts(raw: bytes, check: Check, at_most: int = 0xFFFF) -> tuple[Contact, ...]:
    """What `pack_contacts` packed; Malformed when it cannot be.

    Left out are those whose proof `check` refuses, and those at addresses that no node can have.
    """
    v4_end = _COUNT + int.from_bytes(raw[:_COUNT], "big") * _IPV4
    if not _COUNT <= v4_end <= len(raw) or (len(raw) - v4_end) % _IPV6:
        raise Malformed("contacts of a broken length")
    slices = [raw[i : i + _IPV4] for i in range(_COUNT, v4_end, _IPV4)]
    slices += [raw[i : i + _IPV6] for i in range(v4_end, len(raw), _IPV6)]
    if len(slices) > at_most:
        raise Malformed(f"more than {at_most} contacts")
    return tuple([contact for one in slices if (contact := _unpack(one, check))])


# The same few hundred contacts come and go all the time: both ways are remembered.


@lru_cache(maxsize=8192)
def _pack(contact: Contact) -> bytes:
    host, port = contact.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return contact.proof + socket.inet_pton(family, host) + port.to_bytes(2, "big")


@lru_cache(maxsize=8192)
def _unpack(raw: bytes, check: Check) -> Contact | None:
    proof, host, port = raw[:PROOF_BYTES], raw[PROOF_BYTES:-2], int.from_bytes(raw[-2:], "big")
    if not port or not _may_be_a_node(host):
        return None
    try:
        node_id = check(proof)
    except Malformed:
        return None
    family = socket.AF_INET if len(host) == 4 else socket.AF_INET6
    return Contact(node_id, (socket.inet_ntop(family, host), port), proof)


def _may_be_a_node(host: bytes) -> bool:
    """False for the unspecified address, multicast, broadcast, and IPv4 dressed up as IPv6."""
    if len(host) == 4:
        return host[0] not in (0, 255) and not 224 <= host[0] < 240
    return host != bytes(16) and host[0] != 0xFF and not host.startswith(_IPV4_MAPPED)
