"""The messages of the API, as values and as bytes: VoidPhone's (650 to 653) and DHT-14's own (660 to 667).

Every message is `size u16 | type u16 | body`, big-endian; the size is that of the whole message. Decoders
take one whole frame and raise only `Malformed`, whose text is one of a few constants, so that it can be
counted. Encoders raise ValueError for wrong arguments, which are our own fault.
"""

import struct
from collections.abc import Mapping

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.frames import MAX_FRAME, MIN_FRAME

PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653
PUT_WITH_RECEIPT, RECEIPT, GET_RECORD, RECORD, NO_RECORD = 660, 661, 662, 663, 664
WATCH, CHANGED, GONE = 665, 666, 667

_KEY_BYTES = 32
_HEAD = struct.Struct(">HH")
_PUT_HEAD = struct.Struct(">HHHBB")
_RECEIPT_BODY = struct.Struct(">BBBBQ")
_RECORD_BODY = struct.Struct(">BQI")
_BARE = _HEAD.size + _KEY_BYTES
_PUT_BARE = _PUT_HEAD.size + _KEY_BYTES
_RECEIPT_BYTES = _BARE + _RECEIPT_BODY.size
_RECORD_BARE = _BARE + _RECORD_BODY.size
_IS_CONTENT = 0x01
_GET_HEAD = _HEAD.pack(_BARE, GET)

MAX_RECORD_VALUE = MAX_FRAME - _RECORD_BARE
"""The size of the largest value that fits a RECORD: 65,486. The reply to a GET RECORD that finds a larger one
is a SUCCESS, which has the value alone."""

MAX_KIND = 3

Bounds = Mapping[int, tuple[int, int]]
"""The sizes of the shortest and the longest whole message of each type."""

REQUEST_BOUNDS: Bounds = {
    PUT: (_PUT_BARE + 1, _PUT_BARE + MAX_VALUE),
    GET: (_BARE, _BARE),
    PUT_WITH_RECEIPT: (_PUT_BARE + 1, _PUT_BARE + MAX_VALUE),
    GET_RECORD: (_BARE + 1, _BARE + 1),
    WATCH: (_BARE + 1, _BARE + 1),
}

REPLY_BOUNDS: Bounds = {
    SUCCESS: (_BARE + 1, _BARE + MAX_VALUE),
    FAILURE: (_BARE, _BARE),
    RECEIPT: (_RECEIPT_BYTES, _RECEIPT_BYTES),
    RECORD: (_RECORD_BARE + 1, MAX_FRAME),
    NO_RECORD: (_BARE + 1, _BARE + 1),
    CHANGED: (_RECORD_BARE, MAX_FRAME),
    GONE: (_BARE + 1, _BARE + 1),
}


# Requests


@frozen
class Put:
    """Asks to store a value. `ttl` (seconds) and `replication` (nodes) are hints; 0: the default."""

    ttl: int
    replication: int
    key: bytes
    value: bytes


@frozen
class PutWithReceipt(Put):
    """A PUT whose reply is a receipt."""


@frozen
class Get:
    """Asks for the value of a key."""

    key: bytes


@frozen
class GetRecord(Get):
    """Asks for the record of a key. With `content` only a value whose SHA-256 is the key counts."""

    content: bool = False


@frozen
class WatchKey(Get):
    """Asks for the record of a key, and to be told of its changes from then on; or no longer."""

    on: bool = True


ApiRequest = Put | Get
"""What a client sends."""


# Replies


@frozen
class Success:
    """The value was found or stored."""

    key: bytes
    value: bytes


@frozen
class Failure:
    """The value was not found or not stored."""

    key: bytes


@frozen
class PutReceipt:
    """The outcome of a PUT WITH RECEIPT."""

    key: bytes
    receipt: Receipt


@frozen
class FoundRecord:
    """The record that a GET RECORD found. `ttl`: the seconds it still has to live."""

    key: bytes
    kind: int
    """1 open, 2 owner, 3 content."""
    version: int
    ttl: int
    value: bytes


@frozen
class MissingRecord:
    """Why a GET RECORD found no record."""

    key: bytes
    reason: NoRecord


@frozen
class ChangedRecord(FoundRecord):
    """Tells that a watched key has another record now. The value is empty where it is too large for this
    message."""


@frozen
class GoneRecord(MissingRecord):
    """Tells that a watched key has no record any more."""


ApiReply = Success | Failure | PutReceipt | FoundRecord | MissingRecord
"""What a node sends."""


# Decoding


def check_request_head(size: int, kind: int) -> None:
    """Raise `Malformed` where no request begins with this size and type."""
    _check_head(size, kind, REQUEST_BOUNDS)


def check_answer_head(size: int, kind: int) -> None:
    """Raise `Malformed` where no reply begins with this size and type."""
    _check_head(size, kind, REPLY_BOUNDS)


def decode_request(frame: bytes) -> ApiRequest:
    """Decode a request. A reply is an unknown type here."""
    if len(frame) == _BARE and frame.startswith(_GET_HEAD):
        return Get(frame[4:])
    kind = _kind(frame, REQUEST_BOUNDS)
    if kind == GET_RECORD:
        if frame[_BARE] & ~_IS_CONTENT:
            raise Malformed("unknown flag")
        return GetRecord(frame[4:_BARE], bool(frame[_BARE]))
    if kind == WATCH:
        if frame[_BARE] > 1:
            raise Malformed("unknown flag")
        return WatchKey(frame[4:_BARE], bool(frame[_BARE]))
    # The reserved byte is ignored, so that a later version can use it.
    _, _, ttl, replication, _ = _PUT_HEAD.unpack_from(frame)
    make_put = Put if kind == PUT else PutWithReceipt
    return make_put(ttl, replication, frame[8:_PUT_BARE], frame[_PUT_BARE:])


def decode_reply(frame: bytes) -> ApiReply:
    """Decode a reply."""
    kind = _kind(frame, REPLY_BOUNDS)
    key = frame[4:_BARE]
    if kind == SUCCESS:
        return Success(key, frame[_BARE:])
    if kind == FAILURE:
        return Failure(key)
    try:
        if kind == RECEIPT:
            outcome, stored, wanted, reason, version = _RECEIPT_BODY.unpack_from(frame, _BARE)
            return PutReceipt(key, Receipt(PutOutcome(outcome), stored, wanted, PutReason(reason), version))
        if kind == NO_RECORD:
            return MissingRecord(key, NoRecord(frame[_BARE]))
        if kind == GONE:
            return GoneRecord(key, NoRecord(frame[_BARE]))
    except ValueError:
        raise Malformed("unknown outcome or reason") from None
    record_kind, version, ttl = _RECORD_BODY.unpack_from(frame, _BARE)
    if not 1 <= record_kind <= MAX_KIND:
        raise Malformed("unknown kind of record")
    make = FoundRecord if kind == RECORD else ChangedRecord
    return make(key, record_kind, version, ttl, frame[_RECORD_BARE:])


# Encoding


def encode_put(ttl: int, replication: int, key: bytes, value: bytes, *, receipt: bool = False) -> bytes:
    """Encode a PUT or a PUT WITH RECEIPT; `ttl` is 0 to 65,535, `replication` 0 to 255."""
    _check_arguments(key, value)
    if not (0 <= ttl <= 0xFFFF and 0 <= replication <= 0xFF):
        raise ValueError("ttl or replication out of range")
    kind = PUT_WITH_RECEIPT if receipt else PUT
    return _PUT_HEAD.pack(_PUT_BARE + len(value), kind, ttl, replication, 0) + key + value


def encode_get(key: bytes) -> bytes:
    """Encode a GET."""
    _check_arguments(key)
    return _HEAD.pack(_BARE, GET) + key


def encode_get_record(key: bytes, content: bool = False) -> bytes:
    """Encode a GET RECORD."""
    _check_arguments(key)
    return _HEAD.pack(_BARE + 1, GET_RECORD) + key + bytes([_IS_CONTENT if content else 0])


def encode_watch(key: bytes, on: bool = True) -> bytes:
    """Encode a WATCH."""
    _check_arguments(key)
    return _HEAD.pack(_BARE + 1, WATCH) + key + bytes([on])


def encode_success(key: bytes, value: bytes) -> bytes:
    """Encode a SUCCESS."""
    _check_arguments(key, value)
    return _HEAD.pack(_BARE + len(value), SUCCESS) + key + value


def encode_failure(key: bytes) -> bytes:
    """Encode a FAILURE."""
    _check_arguments(key)
    return _HEAD.pack(_BARE, FAILURE) + key


def encode_receipt(key: bytes, receipt: Receipt) -> bytes:
    """Encode a RECEIPT. Counts above 255 become 255."""
    _check_arguments(key)
    stored, wanted = min(receipt.stored, 0xFF), min(receipt.wanted, 0xFF)
    body = _number(_RECEIPT_BODY, receipt.outcome, stored, wanted, receipt.reason, receipt.version)
    return _HEAD.pack(_RECEIPT_BYTES, RECEIPT) + key + body


def encode_record(key: bytes, kind: int, version: int, ttl: int, value: bytes) -> bytes:
    """Encode a RECORD, or a SUCCESS where the value is too large for one. `ttl` is cut to fit its field."""
    _check_arguments(key, value)
    if len(value) > MAX_RECORD_VALUE:
        return encode_success(key, value)
    body = _number(_RECORD_BODY, kind, version, min(max(ttl, 0), 0xFFFF_FFFF))
    return _HEAD.pack(_RECORD_BARE + len(value), RECORD) + key + body + value


def encode_no_record(key: bytes, reason: NoRecord) -> bytes:
    """Encode a NO RECORD."""
    _check_arguments(key)
    return _HEAD.pack(_BARE + 1, NO_RECORD) + key + bytes([reason])


def encode_changed(key: bytes, kind: int, version: int, ttl: int, value: bytes) -> bytes:
    """Encode a CHANGED; a value that is too large for it is left out. `ttl` is cut to fit its field."""
    _check_arguments(key, value)
    value = value if len(value) <= MAX_RECORD_VALUE else b""
    body = _number(_RECORD_BODY, kind, version, min(max(ttl, 0), 0xFFFF_FFFF))
    return _HEAD.pack(_RECORD_BARE + len(value), CHANGED) + key + body + value


def encode_gone(key: bytes, reason: NoRecord) -> bytes:
    """Encode a GONE."""
    _check_arguments(key)
    return _HEAD.pack(_BARE + 1, GONE) + key + bytes([reason])


def _kind(frame: bytes, bounds: Bounds) -> int:
    if len(frame) < MIN_FRAME or frame[0] << 8 | frame[1] != len(frame):
        raise Malformed("wrong size")
    kind = frame[2] << 8 | frame[3]
    _check_head(len(frame), kind, bounds)
    return kind


def _check_head(size: int, kind: int, bounds: Bounds) -> None:
    shortest, longest = bounds.get(kind, (0, 0))
    if shortest <= size <= longest:
        return
    if not longest:
        raise Malformed("unknown type")
    if shortest < longest and size == shortest - 1:
        raise Malformed("empty value")
    if shortest < longest and size > longest:
        raise Malformed("value too long")
    raise Malformed("wrong size for its type")


def _number(layout: struct.Struct, *numbers: int) -> bytes:
    try:
        return layout.pack(*numbers)
    except struct.error as error:
        raise ValueError(str(error)) from None


def _check_arguments(key: bytes, value: bytes = b"?") -> None:
    if len(key) != _KEY_BYTES or not 0 < len(value) <= MAX_VALUE:
        raise ValueError("a key has 32 bytes, a value 1 to 65,495")
