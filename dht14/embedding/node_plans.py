"""The plans of the clients' calls, carried out by a node of this process.

Each request gets what the API of the node would answer, without its bytes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from dht14.client.plans import Plan
from dht14.errors import CallFailed
from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.api.readiness import Readiness
from dht14.net.api.replies import failed
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.api_messages import (
    ApiReply,
    ApiRequest,
    FoundRecord,
    Get,
    GetRecord,
    MissingRecord,
    PutReceipt,
)

T = TypeVar("T")


async def carry_out(
    plan: Plan[T], readiness: Readiness, clock: Callable[[], float], is_over: Callable[[], bool]
) -> T:
    """Carry out the requests of a plan, one after the other, and return its result. Raises what it raises.

    A request that is cancelled when `is_over`, since the node has stopped, gets the answer of one unfinished.
    """
    try:
        request = next(plan)
        while True:
            request = plan.send(await _reply(request, readiness, clock, is_over))
    except StopIteration as end:
        result: T = end.value
        return result


async def _reply(
    request: ApiRequest, readiness: Readiness, clock: Callable[[], float], is_over: Callable[[], bool]
) -> ApiReply:
    key = id_from_bytes(request.key)
    found: Any
    try:
        if isinstance(request, Get):
            content = isinstance(request, GetRecord) and request.content
            found = await readiness.get(key, content)
        else:
            found = await readiness.put(key, request.value, request.ttl, request.replication)
    except CallFailed:
        found = failed(request)
    except CancelledError:
        if not is_over():
            raise
        found = failed(request)
    return reply_to(request.key, found, clock())


def reply_to(key: bytes, result: Any, now: float) -> ApiReply:
    """Return the API's answer to a request with this key, from what the node has found or stored."""
    if isinstance(result, Record):
        ttl = max(result.remaining_ms(now) // 1_000, 0)
        return FoundRecord(key, result.kind, result.version, ttl, result.value)
    if isinstance(result, NoRecord):
        return MissingRecord(key, result)
    return PutReceipt(key, result)
