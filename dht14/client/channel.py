"""The requests of a connection, without I/O: what to send, what to repeat, which request a reply answers.

Replies come in the order of the requests, and between them the changes of watched keys. A channel outlives
its connections: requests that were under way when a connection broke are sent again, once, on the next one.
"""

from collections import deque
from collections.abc import Iterable

from attrs import define

from dht14.client.dialect import Dialect, NodeDialect, encode
from dht14.client.errors import DhtError, NoNode, TimedOut
from dht14.client.feeds import Feeds
from dht14.errors import Malformed
from dht14.wire.api_messages import (
    ApiReply,
    ApiRequest,
    ChangedRecord,
    Failure,
    FoundRecord,
    Get,
    GoneRecord,
    MissingRecord,
    Put,
    PutReceipt,
    Success,
    WatchKey,
    check_answer_head,
    decode_reply,
)
from dht14.wire.frames import FrameSplitter

ANSWER_TIMEOUT = 15.0
"""A node answers a request within 5 s of its turn; one that has not after so long is not there."""

SILENCE_TIMEOUT = 7.0
"""A connection with requests under way that brings nothing for so long is dead; or the node does not know our
extension, where it has never answered in it."""

PIPELINE_LIMIT = 128
"""Requests under way on one connection. A node works on 64 side by side; the others wait in its buffer for
their turn."""

CHUNK_BYTES = 256 * 1024
"""Bytes of frames that are encoded at once; the last frame may exceed it. Values behind them wait without a
copy."""

MAX_SENDS = 2
"""A request that is under way when its connection breaks is sent once more."""

FIRST_RETRY, LAST_RETRY = 0.05, 1.0
"""Seconds between two tries to reach a node that was lost; they double from the first to the last."""


@define(eq=False)
class Exchange:
    """One request and, once it is settled, its reply or an error."""

    request: ApiRequest
    deadline: float
    owner: object = None
    """Who waits for it, as the transport knows them."""
    sends: int = 0
    """How often it was sent to a node that may have carried it out."""
    was_under_way: bool = False
    """Whether it was sent at all: then it waits for a node that comes back."""
    sent_at: float = 0.0
    outcome: ApiReply | DhtError | None = None

    def abandon(self) -> None:
        """Nobody waits for it any more: it is not sent, and its reply is thrown away."""
        if self.outcome is None:
            self.outcome = TimedOut("the call was cancelled")


class Channel:
    """The requests that go through one connection, and through the next one when that breaks.

    The transport calls it with bytes and times. It returns the exchanges that have got their outcome.
    """

    def __init__(self, node: NodeDialect, awaits_return: bool = True) -> None:
        """With `awaits_return`, requests under way wait until a node that was lost can be reached again."""
        self._node = node
        self._awaits_return = awaits_return
        self._dialect = Dialect.EXTENDED
        self._waiting: deque[Exchange] = deque()
        self._sent: deque[Exchange] = deque()
        self._splitter = FrameSplitter(check_answer_head)
        self._is_connected = False
        self._was_answered = False
        self._was_silent = False
        self._heard_at = 0.0
        self._problem = "no connection could be made in time"
        self.feeds = Feeds()
        """They receive the changes of watched keys."""

    # What the transport asks.

    @property
    def is_connected(self) -> bool:
        """Whether a connection is in use. It is not after bytes that no node would send."""
        return self._is_connected

    def has_work(self) -> bool:
        """Whether somebody waits for a reply."""
        return self._first() is not None

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; None while nobody waits."""
        first = self._first()
        if first is None:
            return None
        silent_at = self._silent_at()
        return first.deadline if silent_at is None else min(first.deadline, silent_at)

    # What happens.

    def add(self, exchange: Exchange) -> None:
        """Queue a request behind the others. Deadlines do not decrease along the queue."""
        self._waiting.append(exchange)

    def connected(self, now: float) -> None:
        """Begin with a connection that has just been made."""
        self._splitter = FrameSplitter(check_answer_head)
        self._dialect = self._node.current()
        self._is_connected, self._was_answered, self._was_silent = True, False, False
        self._heard_at = now

    def to_send(self, now: float) -> bytes:
        """Return the next frames to send; none while the connection has enough of them."""
        limit = PIPELINE_LIMIT if self._dialect is Dialect.EXTENDED else 1
        waiting, sent = self._waiting, self._sent
        frames, size = [], 0
        while waiting and len(sent) < limit and size < CHUNK_BYTES:
            exchange = waiting.popleft()
            if exchange.outcome is not None:
                continue
            frame = encode(exchange.request, self._dialect)
            frames.append(frame)
            size += len(frame)
            exchange.was_under_way, exchange.sent_at = True, now
            sent.append(exchange)
        return b"".join(frames)

    def received(self, piece: bytes, now: float) -> list[Exchange]:
        """Take bytes of the node. If no node would send them, everything under way fails, and the channel is
        not connected any more."""
        self._heard_at = now
        self._splitter.feed(piece)
        settled: list[Exchange] = []
        sent = self._sent
        try:
            while (frame := self._splitter.next_frame()) is not None:
                reply = decode_reply(frame)
                if isinstance(reply, ChangedRecord | GoneRecord):
                    self.feeds.heard(reply)
                    continue
                if not sent or not answers(reply, sent[0].request):
                    return settled + self._nonsense("the answer is to another request")
                exchange = sent.popleft()
                if isinstance(exchange.request, WatchKey):
                    self.feeds.heard(reply)
                self._was_answered = True
                if exchange.outcome is None:
                    exchange.outcome = reply
                    settled.append(exchange)
        except Malformed:
            return settled + self._nonsense("the program that answers there is not a DHT node")
        if self._was_answered:
            self._node.answered(self._dialect)
        return settled

    def lost(self, by_node: bool = True) -> list[Exchange]:
        """The connection has ended, `by_node` or because `expire` said so. Requests under way will be sent
        again; those that were sent twice have failed."""
        if not self._is_connected:
            return []
        self._is_connected = False
        self.feeds.lost()
        if self._sent and (by_node or self._was_silent):
            self._node.ended(self._dialect, self._was_answered)
        # A node that does not know our extension has carried out nothing. But it may be one of ours that was
        # killed, and a put must not be carried out three times.
        is_send = self._dialect is Dialect.PLAIN or self._node.is_proven
        self._problem = "the connection was closed without an answer"
        failed: list[Exchange] = []
        for exchange in reversed(self._sent):
            exchange.sends += is_send or isinstance(exchange.request, Put)
            if exchange.outcome is not None:
                continue
            if exchange.sends < MAX_SENDS:
                self._waiting.appendleft(exchange)
            else:
                exchange.outcome = NoNode(self._problem, self._node.place)
                failed.append(exchange)
        self._sent.clear()
        return failed[::-1]

    def unreachable(self, problem: str) -> list[Exchange]:
        """No connection could be made: what was never sent fails, what was under way waits for the next
        try."""
        self._problem = problem
        waits = self._awaits_return
        given_up = (one for one in self._waiting if not (waits and one.was_under_way))
        failed = _fail(given_up, problem, self._node.place)
        self._waiting = deque(one for one in self._waiting if one.outcome is None)
        return failed

    def expire(self, now: float) -> tuple[list[Exchange], bool]:
        """Return the exchanges whose time is over, and whether the connection is dead: then it must be
        closed."""
        failed: list[Exchange] = []
        is_dead = False
        for exchange in (*self._sent, *self._waiting):
            if exchange.outcome is not None:
                continue
            if exchange.deadline > now:
                break
            if self._is_connected:
                exchange.outcome = TimedOut("the node did not answer in time")
            else:
                exchange.outcome = NoNode(self._problem, self._node.place)
            failed.append(exchange)
        if failed and self._is_connected and self._sent:
            quiet_since = max(self._heard_at, self._sent[0].sent_at)
            is_dead = self._dialect is Dialect.PLAIN or now - quiet_since >= SILENCE_TIMEOUT
        silent_at = self._silent_at()
        if silent_at is not None and silent_at <= now:
            self._was_silent = is_dead = True
        return failed, is_dead

    def close(self) -> list[Exchange]:
        """Nobody uses the channel any more: everything fails."""
        self._is_connected = False
        self.feeds.lost()
        failed = _fail((*self._sent, *self._waiting), "the client was closed")
        self._sent.clear()
        self._waiting.clear()
        return failed

    def _nonsense(self, problem: str) -> list[Exchange]:
        self._is_connected = False
        self.feeds.lost()
        failed = _fail(self._sent, problem, self._node.place)
        self._sent.clear()
        return failed

    def _silent_at(self) -> float | None:
        """When the node counts as one that does not know our extension."""
        is_known = self._was_answered or self._node.is_proven or self._dialect is Dialect.PLAIN
        if is_known or not self._is_connected or not self._sent:
            return None
        return self._sent[0].sent_at + SILENCE_TIMEOUT

    def _first(self) -> Exchange | None:
        for exchange in self._sent:
            if exchange.outcome is None:
                return exchange
        while self._waiting and self._waiting[0].outcome is not None:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


def answers(reply: ApiReply, request: ApiRequest) -> bool:
    """Whether this is a reply to that request."""
    if reply.key != request.key:
        return False
    if isinstance(request, Get):
        return isinstance(reply, FoundRecord | MissingRecord | Success | Failure)
    return isinstance(reply, PutReceipt | Success | Failure)


def _fail(exchanges: Iterable[Exchange], problem: str, place: str = "") -> list[Exchange]:
    """Let those without an outcome fail with `NoNode`, and return them."""
    failed = [one for one in exchanges if one.outcome is None]
    for exchange in failed:
        # Each has an error of its own: who raises it writes its traceback into it.
        exchange.outcome = NoNode(problem, place)
    return failed
