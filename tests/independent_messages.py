"""The fields of messages, read and checked as section 2.1 of docs/protocol.md says. Like the independent
peer, which reads the items and the proofs, it imports nothing of dht14."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from tests.independent_peer import Message, Proofs, read_message, write_message

MAX_DATAGRAM = 1_200
VOID = (AssertionError, IndexError, KeyError, ValueError, struct.error)
"""What the independent peer raises for bytes that it does not take."""

Check = Callable[[int | bytes, Proofs], int | bytes]
"""Returns an item as its sender must write it. Raises one of `VOID`."""


def integer(low: int, high: int) -> Check:
    def check(item: int | bytes, proofs: Proofs) -> int:
        assert isinstance(item, int) and low <= item <= high
        return item

    return check


def string(*lengths: int) -> Check:
    def check(item: int | bytes, proofs: Proofs) -> bytes:
        assert isinstance(item, bytes) and len(item) in lengths
        return item

    return check


def is_of_a_node(packed: bytes) -> bool:
    """Whether a node can have this address: `IP | port u16`."""
    host, port = packed[:-2], packed[-2:]
    if port == b"\0\0":
        return False
    if len(host) == 4:
        v4 = IPv4Address(host)
        return not (v4.is_multicast or v4.packed[0] in (0, 255))
    v6 = IPv6Address(host)
    return not (v6.is_multicast or v6.is_unspecified or v6.ipv4_mapped is not None)


def address(item: int | bytes, proofs: Proofs) -> bytes:
    assert isinstance(item, bytes) and len(item) in (6, 18) and is_of_a_node(item)
    return item


def contacts(item: int | bytes, proofs: Proofs) -> bytes:
    """The contacts that count."""
    assert isinstance(item, bytes) and 2 <= len(item) <= 1_100
    n4, rest = struct.unpack(">H", item[:2])[0], item[2:]
    v4, v6 = rest[: 54 * n4], rest[54 * n4 :]
    assert len(v4) == 54 * n4 and len(v6) % 66 == 0 and n4 + len(v6) // 66 <= 20

    def good(packed: bytes, size: int) -> list[bytes]:
        every = [packed[at : at + size] for at in range(0, len(packed), size)]
        return [one for one in every if is_of_a_node(one[48:]) and _is_proof(one[:48], proofs)]

    good4, good6 = good(v4, 54), good(v6, 66)
    return struct.pack(">H", len(good4)) + b"".join(good4 + good6)


def _is_proof(proof: bytes, proofs: Proofs) -> bool:
    try:
        proofs.node_id(proof)
    except AssertionError:
        return False
    return True


def view(item: int | bytes, proofs: Proofs) -> bytes:
    assert isinstance(item, bytes) and len(item) <= 20 and len(item) % 4 == 0
    return item


def software(item: int | bytes, proofs: Proofs) -> bytes:
    assert isinstance(item, bytes) and 1 <= len(item) <= 32 and all(33 <= byte <= 126 for byte in item)
    return item


def entries(item: int | bytes, proofs: Proofs) -> bytes:
    """1 to 24 times key 32, mark 8, ttl u32, replication u8."""
    assert isinstance(item, bytes) and 1 <= len(item) // 45 <= 24 and len(item) % 45 == 0
    for at in range(40, len(item), 45):
        ttl, replication = struct.unpack_from(">IB", item, at)
        assert ttl <= 604_800 and 1 <= replication <= 20
    return item


FLAG = integer(0, 1)
ID = DIGEST = string(32)
VERSION = integer(0, 2**63 - 1)
TTL = integer(1, 604_800_000)
REPLICATION, OR_CACHED = integer(1, 20), integer(0, 20)
NEIGHBOURS = integer(0, 2**64 - 1)
VALUE = string(*range(1, 1_001))
LENGTH, LARGE_LENGTH = integer(1, 65_495), integer(1_001, 65_495)
TICKET, MARK = string(16), string(8)

FIELDS: dict[int, tuple[Check, ...]] = {
    1: (),
    2: (ID,),
    3: (ID, view),
    4: (ID, VERSION, TTL, OR_CACHED, NEIGHBOURS, VALUE, FLAG),
    5: (ID, VERSION, TTL, REPLICATION, NEIGHBOURS, FLAG, LENGTH, DIGEST, FLAG),
    6: (address,),
    7: (),
    8: (),
    9: (ID, view, FLAG),
    10: (ID, MARK),
    11: (),
    12: (entries,),
    64: (integer(0, 2**48 - 1),),
    65: (contacts, FLAG),
    66: (VERSION, TTL, OR_CACHED, FLAG, VALUE, contacts),
    67: (contacts, FLAG, OR_CACHED),
    68: (VERSION, contacts),
    69: (contacts, integer(1, 8), FLAG),
    70: (contacts, TICKET),
    71: (VERSION, TTL, REPLICATION, FLAG, FLAG, LARGE_LENGTH, DIGEST, TICKET, contacts),
    72: (contacts, integer(1, 2), VERSION),
    73: (integer(0, 600_000), MARK, contacts),
    74: (software,),
    75: (integer(0, 2**24 - 1),),
}
"""By code, in the order of the page."""


def read_whole(raw: bytes, proofs: Proofs) -> Message:
    """The items of a message, contacts that do not count left out. Raises one of `VOID`."""
    assert len(raw) <= MAX_DATAGRAM
    rpc_id, code, *fields = read_message(raw)
    assert isinstance(code, int)
    checks = FIELDS[code]
    assert len(fields) == len(checks)
    return [rpc_id, code, *(check(item, proofs) for check, item in zip(checks, fields, strict=True))]


def written_again(raw: bytes, proofs: Proofs) -> bytes | None:
    """The bytes that its sender must have meant; None where they are no message."""
    try:
        return write_message(read_whole(raw, proofs))
    except VOID:
        return None
