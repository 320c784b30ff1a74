"""Inputs of several steps: `what u8 | length u16 | bytes`, one after the other."""

from collections.abc import Iterator

LONGEST = 32
"""The largest number of steps of one input."""


def step(what: int, data: bytes = b"") -> bytes:
    """One step as bytes."""
    return bytes([what]) + len(data).to_bytes(2, "big") + data


def steps(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The steps of an input; the last one may be cut short."""
    at = 0
    for _ in range(LONGEST):
        if at >= len(raw):
            return
        length = int.from_bytes(raw[at + 1 : at + 3], "big")
        yield raw[at], raw[at + 3 : at + 3 + length]
        at += 3 + length
