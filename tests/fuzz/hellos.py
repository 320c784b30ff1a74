"""The first message of a TLS client, with any fields and right lengths: made of the steps of an input.

A step is an extension: its type below 250, and its bytes. Other steps are the fields before these.
"""

from collections.abc import Iterator

from tests.fuzz.steps import step, steps

VERSION, RANDOM, SESSION, SUITES, COMPRESSION = range(250, 255)
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_LONGEST = 16_000


def _sized(data: bytes, width: int) -> bytes:
    data = data[: 256**width - 1]
    return len(data).to_bytes(width, "big") + data


def hello_of(raw: bytes) -> bytes:
    """Return the record with the hello of these steps."""
    fields = {VERSION: b"\3\3", RANDOM: bytes(32), SESSION: b"", SUITES: b"\x13\1\x13\2", COMPRESSION: b"\0"}
    extensions = b""
    for what, data in steps(raw):
        if what in fields:
            fields[what] = data
        elif what < VERSION:
            extensions += what.to_bytes(2, "big") + _sized(data, 2)
    body = fields[VERSION][:2].ljust(2, b"\3") + fields[RANDOM][:32].ljust(32, b"\0")
    body += _sized(fields[SESSION], 1) + _sized(fields[SUITES], 2) + _sized(fields[COMPRESSION], 1)
    body = (body + _sized(extensions, 2))[:_LONGEST]
    return bytes([_HANDSHAKE]) + b"\3\1" + _sized(bytes([_CLIENT_HELLO]) + _sized(body, 3), 2)


def steps_of(record: bytes) -> Iterator[bytes]:
    """Yield the steps that make the hello of a record again."""
    body = record[9:]
    yield step(RANDOM, body[2:34])
    at = 34
    for what, width in ((SESSION, 1), (SUITES, 2), (COMPRESSION, 1)):
        length = int.from_bytes(body[at : at + width], "big")
        yield step(what, body[at + width : at + width + length])
        at += width + length
    at += 2
    while at < len(body):
        kind, length = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        # Those above have no use among nodes.
        if kind < VERSION:
            yield step(kind, body[at + 4 : at + 4 + length])
        at += 4 + length
