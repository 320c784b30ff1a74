"""What the API asks of the node, and what it tells its client of the answer."""

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record
from dht14.wire.api_messages import (
    ApiRequest,
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    encode_failure,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)


class PutGet(Protocol):
    """What the API asks of the node. Neither fails: what cannot be done is told, with the reason."""

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """What became of the value; `ttl` (s) and `replication` as the client wrote them."""

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """The record, or why there is none. With `content` only a value whose SHA-256 is the key counts."""


def failed(request: ApiRequest) -> Receipt | NoRecord:
    """What is told of a request that the node did not finish."""
    if isinstance(request, Get):
        return NoRecord.UNANSWERED
    return Receipt(PutOutcome.NOT_STORED, 0, request.replication, PutReason.TOO_FEW_HOLDERS)


def is_success(result: Any) -> bool:
    """Whether that is what the client wished for."""
    return result.acknowledged if isinstance(result, Receipt) else isinstance(result, Record)


def reply_to(request: ApiRequest, result: Any, now: float) -> bytes:
    """The reply, in the words in which the client asked."""
    if type(request) is Get and isinstance(result, Record):
        return encode_success(request.key, result.value)  # What most ask, and most often.
    if isinstance(request, GetRecord):
        if isinstance(result, Record):
            ttl = result.remaining_ms(now) // 1_000
            return encode_record(request.key, result.kind, result.version, ttl, result.value)
        return encode_no_record(request.key, result)
    if isinstance(request, PutWithReceipt):
        return encode_receipt(request.key, result)
    if isinstance(request, Put) and is_success(result):
        return encode_success(request.key, request.value)
    return encode_failure(request.key)
