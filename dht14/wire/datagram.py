"""Turns RPC messages into bytes and back: CBOR arrays `[rpc id, code, field …]`, strictly.

Bytes are Malformed unless `encode` would write exactly these: other types, lengths and ranges, nesting,
tags, indefinite lengths, integers longer than necessary, bytes left over. So each message has one encoding,
and no code behind this decoder must doubt its input.
"""

import attrs
import cbor2
from cbor2 import CBORDecodeError

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.identity import VerifyProof
from dht14.wire.fast_codec import DECODERS, ENCODERS
from dht14.wire.messages import Message
from dht14.wire.schema import SCHEMA

RPC_ID_BYTES = 8

_ENCODINGS = {
    entry.message: (
        code,
        tuple(zip((a.name for a in attrs.fields(entry.message)), entry.shapes, strict=True)),
    )
    for code, entry in SCHEMA.items()
}
_ARRAY_HEADERS = {0x80 | 2 + len(entry.shapes) for entry in SCHEMA.values()}


def encode(rpc_id: bytes, message: Message) -> bytes:
    """Return the bytes of one message. `rpc_id` has 8 bytes: fresh in a request, repeated in its reply."""
    encode_fast = ENCODERS.get(message.__class__)
    if encode_fast is not None and (written := encode_fast(rpc_id, message)) is not None:
        return written
    return encode_any(rpc_id, message)


def encode_any(rpc_id: bytes, message: Message) -> bytes:
    """As `encode`, by the schema alone."""
    code, fields = _ENCODINGS[type(message)]
    items: list[int | bytes] = [rpc_id, code]
    for name, shape in fields:
        items.append(shape.encode(getattr(message, name)))
    return cbor2.dumps(items)


def decode(data: bytes, verify_proof: VerifyProof) -> tuple[bytes, Message]:
    """Return the RPC id and the message in these bytes. Raises Malformed for anything but one message.

    `verify_proof` computes the ids of contacts.
    """
    decode_fast = DECODERS.get(data[10:13])
    if decode_fast is not None and (message := decode_fast(data, verify_proof)) is not None:
        return data[2:10], message
    return decode_any(data, verify_proof)


def decode_any(data: bytes, verify_proof: VerifyProof) -> tuple[bytes, Message]:
    """As `decode`, by the schema alone."""
    if not data or len(data) > MAX_DATAGRAM or data[0] not in _ARRAY_HEADERS:
        raise Malformed("not a message's array")
    try:
        # Depth 1 leaves room for the array itself alone: neither containers nor tags inside.
        items = cbor2.loads(data, max_depth=1, allow_indefinite=False)
    except CBORDecodeError as error:
        raise Malformed("not CBOR as it must be") from error
    rpc_id, code = items[0], items[1]
    if type(rpc_id) is not bytes or len(rpc_id) != RPC_ID_BYTES:
        raise Malformed("no RPC id")
    if type(code) is not int or code not in SCHEMA:
        raise Malformed("unknown code")
    message, shapes, _ = SCHEMA[code]
    if len(items) != 2 + len(shapes):
        raise Malformed("wrong number of fields")
    fields = [shape.decode(item, verify_proof) for shape, item in zip(shapes, items[2:], strict=True)]
    # Every other encoding of these items is longer, and so are bytes with something behind the message.
    if _shortest_length(items) != len(data):
        raise Malformed("not canonical")
    return rpc_id, message(*fields)


def _shortest_length(items: list[int | bytes]) -> int:
    """Return the length of the canonical array of these items, at a quarter of the cost of encoding them."""
    length = 1
    for item in items:
        if isinstance(item, bytes):
            argument = len(item)
            length += argument
        else:
            argument = item
        if argument < 24:
            length += 1
        elif argument < 1 << 8:
            length += 2
        elif argument < 1 << 16:
            length += 3
        else:
            length += 5 if argument < 1 << 32 else 9
    return length
