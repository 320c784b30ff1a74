"""The border between bytes and RPC messages: CBOR arrays `[rpc id, code, field …]`, strictly.

Whatever is not exactly what `encode` would have written is Malformed: other types, lengths and ranges,
nesting, tags, indefinite lengths, integers longer than they need be, bytes left over. A message so has
one encoding only, and no decoder behind this one has to doubt its input.
"""

import attrs
import cbor2
from cbor2 import CBORDecodeError

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.identity import VerifyProof
from dht14.wire.fast_codec import READERS, WRITERS
from dht14.wire.messages import SCHEMA, Message

RPC_ID_BYTES = 8

_ENCODINGS = {
    message: (code, tuple(zip((a.name for a in attrs.fields(message)), shapes, strict=True)))
    for code, (message, shapes) in SCHEMA.items()
}
_ARRAY_HEADERS = {0x80 | 2 + len(shapes) for _, shapes in SCHEMA.values()}


def encode(rpc_id: bytes, message: Message) -> bytes:
    """The bytes of one message. `rpc_id` is 8 bytes, fresh for a request and the request's for its reply."""
    write = WRITERS.get(message.__class__)
    if write is not None and (written := write(rpc_id, message)) is not None:
        return written
    return encode_any(rpc_id, message)


def encode_any(rpc_id: bytes, message: Message) -> bytes:
    """As `encode`, for every message alike."""
    code, fields = _ENCODINGS[type(message)]
    items: list[int | bytes] = [rpc_id, code]
    for name, shape in fields:
        items.append(shape.encode(getattr(message, name)))
    return cbor2.dumps(items)


def decode(data: bytes, verify_proof: VerifyProof) -> tuple[bytes, Message]:
    """The RPC id and the message in these bytes; Malformed when they are not exactly one.

    `verify_proof` is asked for the ids of contacts.
    """
    read = READERS.get(data[10:13])
    if read is not None and (message := read(data, verify_proof)) is not None:
        return data[2:10], message
    return decode_any(data, verify_proof)


def decode_any(data: bytes, verify_proof: VerifyProof) -> tuple[bytes, Message]:
    """As `decode`, for every message alike."""
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
    message, shapes = SCHEMA[code]
    if len(items) != 2 + len(shapes):
        raise Malformed("wrong number of fields")
    fields = [shape.decode(item, verify_proof) for shape, item in zip(shapes, items[2:], strict=True)]
    # Every other form of these items is longer, and so is what has something behind it.
    if _shortest_length(items) != len(data):
        raise Malformed("not canonical")
    return rpc_id, message(*fields)


def _shortest_length(items: list[int | bytes]) -> int:
    """Bytes of the canonical array of these unsigned integers and byte strings. A second encoding would say
    it too, at four times the price."""
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
