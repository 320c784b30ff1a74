"""Seeded changes to bytes that were good before."""

import random

_NOTEWORTHY = (0, 1, 0x17, 0x18, 0x1B, 0x40, 0x58, 0x5B, 0x7F, 0x80, 0x9F, 0xC0, 0xF9, 0xFF)


def mutated(rng: random.Random, whole: bytes) -> bytes:
    """These bytes with a few changes: bits, lengths, parts cut out, doubled or replaced by noise."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[rng.randrange(len(data))] = rng.choice(_NOTEWORTHY)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to]
            case 4:
                data[at:to] = rng.randbytes(to - at)
            case _:
                data += rng.randbytes(rng.randrange(20))
    return bytes(data)
