"""Differential targets: the product and the independent peer get the same bytes, and must decide the same,
and write the same bytes."""

import random
from collections.abc import Iterator

from dht14.errors import Malformed
from dht14.security.identity import Identity, Puzzle
from dht14.wire import datagram
from dht14.wire.datagram import RPC_ID_BYTES
from tests.fuzz.steps import step, steps
from tests.independent_messages import written_again
from tests.independent_peer import Message, Proofs, write_message
from tests.wire.test_datagram import SAMPLES

PUZZLE, PROOFS = Puzzle("fuzz", 1), Proofs("fuzz", 1)
"""Difficult enough that a changed proof is void, most of the time."""


def same_message(raw: bytes) -> None:
    """A message: both take it or both do not, and both write it again alike."""
    try:
        ours: bytes | None = datagram.encode(*datagram.decode(raw, PUZZLE.verify_proof))
    except Malformed:
        ours = None
    its = written_again(raw, PROOFS)
    assert ours == its, f"ours {ours.hex() if ours else None}, its {its.hex() if its else None}"


PACKED4, PACKED6 = (
    Identity.made_up(PUZZLE, random.Random(seed)).proof + address
    for seed, address in (
        (1, bytes([192, 0, 2, 1]) + b"\x1f\x40"),
        (2, b"\x20\x01" + bytes(14) + b"\x1f\x41"),
    )
)


def same_messages() -> Iterator[bytes]:
    """Every message, with contacts that count in this network, and the most of them."""
    for sample in SAMPLES:
        yield datagram.encode(bytes(RPC_ID_BYTES), sample)
    for n4, n6 in ((1, 1), (20, 0), (0, 16), (0, 17), (2, 15)):
        packed = n4.to_bytes(2, "big") + n4 * PACKED4 + n6 * PACKED6
        messages: tuple[Message, ...] = ([65, packed, 1], [67, packed, 0, 8], [72, packed, 1, 7])
        for message in messages:
            yield write_message([bytes(RPC_ID_BYTES), *message])
        yield write_message([bytes(RPC_ID_BYTES), 66, 1 << 60, 60_000, 8, 1, b"v" * 50, packed])


ITEM, NUMBER, STRING = range(3)
BOUNDS = (0, 1, 2, 8, 20, 21, 600_000, 604_800_000, 65_495, 1_001, 2**48 - 1, 2**63 - 1, 2**64 - 1)


def same_items(raw: bytes) -> None:
    """A message made of items, each at a bound or of any bytes: `code u8`, then steps. So all are CBOR as it
    must be, and only the rules of the fields decide."""
    message = message_of(raw)
    if message is not None:
        same_message(message)


def message_of(raw: bytes) -> bytes | None:
    """The message of these steps; None where a message cannot have this number of items."""
    items: Message = [bytes(RPC_ID_BYTES), *raw[:1]]
    for what, data in steps(raw[1:]):
        if what % 3 == NUMBER:
            near = int.from_bytes(data[1:2], "big") % 3 - 1
            items.append(max(0, min(2**64 - 1, BOUNDS[sum(data[:1]) % len(BOUNDS)] + near)))
        elif what % 3 == STRING:
            items.append(data[1:] + bytes(sum(data[:1]) % 70))
        else:
            items.append(data)
    return write_message(items) if 2 <= len(items) <= 23 else None


def item_steps() -> Iterator[bytes]:
    """Messages of many fields."""
    key = step(ITEM, bytes(range(32)))
    zero, one, eight = (step(NUMBER, bytes([at, 1])) for at in (0, 1, 3))
    contacts = step(ITEM, b"\0\1" + PACKED4 + PACKED6)
    value, ticket = step(STRING, b"\0value"), step(STRING, b"\x10")
    yield b"\4" + key + zero + one + eight + zero + value + zero
    yield b"\5" + key + zero + one + eight + zero + zero + one + key + one
    yield b"\x06" + step(ITEM, PACKED6[48:])
    yield b"\x09" + key + step(STRING, b"\x14") + one
    yield b"\x40" + step(NUMBER, bytes([10, 1]))
    yield b"\x41" + contacts + one
    yield b"\x42" + zero + one + eight + one + value + contacts
    yield b"\x47" + zero + one + eight + one + zero + step(NUMBER, bytes([9, 1])) + key + ticket + contacts
    yield b"\x49" + step(NUMBER, bytes([6, 1])) + step(STRING, b"\x08") + contacts
    yield b"\x4a" + step(ITEM, b"dht14/0.1.0")
