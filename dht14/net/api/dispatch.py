"""Hands one API request to the node and makes its reply from what the node returns."""

from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.api.metrics import ApiMetrics
from dht14.net.api.replies import PutGet, failed, is_success, not_begun, reply_to
from dht14.net.api.watching import ConnectionWatches
from dht14.net.log_limiter import LogLimiter
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record
from dht14.wire.api_messages import ApiRequest, Get, GetRecord, PutWithReceipt, WatchKey, encode_success

Result = Record | NoRecord | Receipt
"""What the node returns: of a GET the record or why there is none, of a PUT the receipt."""


class NodeAccess(Protocol):
    """What a server gives its connections to reach the node."""

    node: PutGet
    clock: IReactorTime
    answers_puts: bool
    metrics: ApiMetrics
    log_limiter: LogLimiter


class Dispatcher:
    """Calls the node on behalf of one client."""

    _log = Logger()

    def __init__(self, access: NodeAccess, address: str, watches: ConnectionWatches) -> None:
        self._access = access
        self._address = address
        self._watches = watches

    def begin(self, request: ApiRequest) -> "Result | Deferred[Result]":
        """Call the node; return its result, or what will fire with it or fails. Nothing is raised. Counts the
        outcome, and measures the time."""
        began_at = self._access.clock.seconds()
        called = self._call(request)
        if called.called and not isinstance(called.result, (Deferred, Failure)):
            result: Result = self._ended(called.result, request, began_at)
            return result
        return called.addBoth(self._ended, request, began_at)

    def _call(self, request: ApiRequest) -> "Deferred[Any]":
        key = id_from_bytes(request.key)
        access = self._access
        try:
            if isinstance(request, Get):
                access.metrics.gets += 1
                if isinstance(request, WatchKey):
                    return self._watches.begin_or_end(request)
                return access.node.get(key, isinstance(request, GetRecord) and request.content)
            access.metrics.puts += 1
            return access.node.put(key, request.value, request.ttl, request.replication)
        except Exception:  # noqa: BLE001 - a bug: the client must get its FAILURE all the same
            return fail()

    def _ended(self, result: Any, request: ApiRequest, began_at: float) -> Any:
        outcome = failed(request) if isinstance(result, Failure) else result
        seconds = self._access.clock.seconds() - began_at
        if isinstance(request, Get):
            self._access.metrics.got(outcome, seconds)
        elif isinstance(outcome, Receipt):
            self._access.metrics.put(outcome, seconds)
        return result

    def then_reply(self, result: "Result | Deferred[Result]", request: ApiRequest) -> "Deferred[bytes]":
        """Make what `begin` returned the reply; an unexpected error is logged and answered with FAILURE."""
        called: Deferred[Any] = result if isinstance(result, Deferred) else succeed(result)
        called.addCallback(lambda result: self.reply(request, result))
        return called.addErrback(self._failed, request)

    def _failed(self, failure: Failure, request: ApiRequest) -> bytes:
        now = self._access.clock.seconds()
        if failure.check(CallFailed) is None and self._access.log_limiter.may_log(str(failure.type), now):
            self._log.failure(
                "The node failed a request of API client {client}; this is a bug.",
                failure,
                event="api.request_bug",
                client=self._address,
            )
        return self.failure_reply(request)

    def reply(self, request: ApiRequest, result: object) -> bytes:
        """Encode the reply to a result; empty for a PUT where PUTs are not answered."""
        access = self._access
        if type(request) is Get and isinstance(result, Record):  # The most frequent case.
            access.metrics.successes += 1
            return encode_success(request.key, result.value)
        if not (access.answers_puts or isinstance(request, Get | PutWithReceipt)):
            return b""
        encoded = reply_to(request, result, access.clock.seconds())
        if is_success(result):
            access.metrics.successes += 1
        else:
            access.metrics.failures += 1
        return encoded

    def failure_reply(self, request: ApiRequest) -> bytes:
        """Encode the reply to a request that the node did not finish."""
        return self.reply(request, failed(request))

    def refusal(self, request: ApiRequest) -> bytes:
        """Encode the reply to a request that the node did not begin."""
        return self.reply(request, not_begun(request))
