"""The node as the API uses it, and the encoding of its results for clients."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.node.ports import KeyWatch
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record
from dht14.wire.api_messages import (
    ApiRequest,
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    WatchKey,
    encode_changed,
    encode_failure,
    encode_gone,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)


class PutGet(Protocol):
    """The node as the API uses it. No method fails: the result says what was not possible, and why."""

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """Store a value; fires with a receipt. `ttl` (seconds) and `replication` as the client wrote them."""

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """Fires with the record, or with the reason why there is none. With `content` only a value whose
        SHA-256 is the key counts."""

    def watch(
        self, key: int, on_change: Callable[[Record | NoRecord], object]
    ) -> "Deferred[KeyWatch | NoRecord]":
        """Begin to watch a key; fires with the watch, whose `present` must be called, or with the reason why
        there is none. `on_change` is called with each later state."""


def failed(request: ApiRequest) -> Receipt | NoRecord:
    """The result of a request that the node did not finish. A put may have reached holders."""
    if isinstance(request, Get):
        return NoRecord.UNANSWERED
    return Receipt(PutOutcome.NOT_STORED, 0, request.replication, PutReason.UNFINISHED)


def not_begun(request: ApiRequest) -> Receipt | NoRecord:
    """The result of a request that the node did not begin, and will not."""
    if isinstance(request, Get):
        return NoRecord.NOT_READY
    return Receipt(PutOutcome.NOT_STORED, 0, request.replication, PutReason.NOT_READY)


def is_success(result: Any) -> bool:
    """Whether the result counts as a success."""
    return result.acknowledged if isinstance(result, Receipt) else isinstance(result, Record)


def reply_to(request: ApiRequest, result: Any, now: float) -> bytes:
    """Encode a result as the reply that belongs to the request's message type."""
    if isinstance(request, GetRecord | WatchKey):
        if isinstance(result, Record):
            ttl = result.remaining_ms(now) // 1_000
            return encode_record(request.key, result.kind, result.version, ttl, result.value)
        return encode_no_record(request.key, result)
    if isinstance(request, PutWithReceipt):
        return encode_receipt(request.key, result)
    if isinstance(request, Put) and is_success(result):
        return encode_success(request.key, request.value)
    if isinstance(result, Record):
        return encode_success(request.key, result.value)
    return encode_failure(request.key)


def news_of(key: bytes, state: Record | NoRecord, now: float) -> bytes:
    """Encode the new state of a watched key."""
    if isinstance(state, Record):
        return encode_changed(key, state.kind, state.version, state.remaining_ms(now) // 1_000, state.value)
    return encode_gone(key, state)
