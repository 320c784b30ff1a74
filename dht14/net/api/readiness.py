"""The steps of a node's start, and the API requests that wait for them.

A node that has just started does not know what is stored and cannot store: its "not found" means nothing.
GETs and PUTs therefore wait, within their own timeout, and only then fail with "not ready".
"""

from collections.abc import Callable, Iterable
from enum import Enum

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.net.api.replies import PutGet
from dht14.node.ports import KeyWatch
from dht14.node.timers import cancel_timer
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record

DATABASE_TIMEOUT = 2.0
"""Seconds that a GET waits for the database. The check of a large database takes longer: the GET then asks
the other holders, who have the same values."""

WAKES_PER_TURN = 256
"""Waiting requests that continue in one turn of the reactor."""


class StartStep(Enum):
    """A step of the start that requests wait for."""

    IDENTITY = "identity"
    """The search for the proof of work; without an id there is no node."""
    VALUES = "values"
    """Opening the database, which includes its check."""
    JOIN = "join"
    """The first calls to the seeds and saved contacts."""


ALL_STEPS = frozenset(StartStep)


@define(eq=False)
class _Waiting:
    """One request that waits for all of `steps`, or until its timer fires."""

    steps: frozenset[StartStep]
    timer: IDelayedCall
    done: Deferred[bool] = field(factory=Deferred)


class Readiness:
    """The `PutGet` that the API calls from the first moment on: it forwards to the node once that is ready.

    The service reports each step once, and the node as soon as it exists.
    """

    def __init__(self, clock: IReactorTime, pending_steps: Iterable[StartStep] = StartStep) -> None:
        self._clock = clock
        self._pending = set(pending_steps)
        self._node: PutGet | None = None
        self._gave_up = False
        self._waiting: dict[_Waiting, None] = {}
        self._waking: IDelayedCall | None = None

    # Called by the service

    @property
    def pending_steps(self) -> frozenset[StartStep]:
        """The steps that are not done yet."""
        return frozenset(self._pending)

    def node_started(self, node: PutGet) -> None:
        """The node exists, with its identity."""
        self._node = node
        self.step_done(StartStep.IDENTITY)

    def step_done(self, step: StartStep) -> None:
        """Continue the requests that wait for this step and no other."""
        self._pending.discard(step)
        self._wake()

    def give_up(self) -> None:
        """The pending steps will not be done: the node failed to start, or it stops."""
        self._gave_up = True
        self._wake()

    # Called by the program around the node

    def when_ready(self, seconds: float) -> "Deferred[bool]":
        """Fires with whether all steps are done within `seconds`, or at once when they never will be."""
        return self._until_done(ALL_STEPS, seconds)

    # Called by the API

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """As `PutGet.put`."""
        if (node := self._ready_node()) is not None:
            return node.put(key, value, ttl, replication, timeout).addCallback(self._known)
        return Deferred.fromCoroutine(self._put_later(key, value, ttl, replication, timeout))

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """As `PutGet.get`."""
        if (node := self._ready_node()) is not None:
            return node.get(key, content, timeout)
        return Deferred.fromCoroutine(self._get_later(key, content, timeout))

    def watch(
        self, key: int, on_change: Callable[[Record | NoRecord], object]
    ) -> "Deferred[KeyWatch | NoRecord]":
        """As `PutGet.watch`."""
        if (node := self._ready_node()) is not None:
            return node.watch(key, on_change)
        return Deferred.fromCoroutine(self._watch_later(key, on_change))

    def _ready_node(self) -> PutGet | None:
        return self._node if not self._pending else None

    async def _watch_later(
        self, key: int, on_change: Callable[[Record | NoRecord], object]
    ) -> KeyWatch | NoRecord:
        if not await self._until_done(ALL_STEPS, OPERATION_TIMEOUT) or self._node is None:
            return NoRecord.NOT_READY
        return await self._node.watch(key, on_change)

    async def _put_later(self, key: int, value: bytes, ttl: int, replication: int, timeout: float) -> Receipt:
        deadline = self._clock.seconds() + timeout
        if not await self._until_done(ALL_STEPS, timeout) or self._node is None:
            return Receipt(PutOutcome.NOT_STORED, 0, replication, PutReason.NOT_READY)
        left = deadline - self._clock.seconds()
        return self._known(await self._node.put(key, value, ttl, replication, left))

    def _known(self, receipt: Receipt) -> Receipt:
        """Return what is known of a put. The calls of a node that stops end without answers: that holders
        did not confirm it then means nothing."""
        if self._gave_up and receipt.reason is PutReason.TOO_FEW_HOLDERS:
            return evolve(receipt, reason=PutReason.UNFINISHED)
        return receipt

    async def _get_later(self, key: int, content: bool, timeout: float) -> Record | NoRecord:
        deadline = self._clock.seconds() + timeout
        if not await self._until_done(ALL_STEPS, min(DATABASE_TIMEOUT, timeout)):
            left = deadline - self._clock.seconds()
            if not await self._until_done(frozenset({StartStep.IDENTITY, StartStep.JOIN}), left):
                return NoRecord.NOT_READY
        if self._node is None:
            return NoRecord.NOT_READY
        found = await self._node.get(key, content, deadline - self._clock.seconds())
        if StartStep.VALUES in self._pending and found in (NoRecord.NOT_FOUND, NoRecord.UNANSWERED):
            return NoRecord.NOT_READY  # This node itself may hold it.
        return found

    def _until_done(self, steps: frozenset[StartStep], seconds: float) -> "Deferred[bool]":
        """Fires with whether all of `steps` are done within `seconds`."""
        if self._gave_up or not steps & self._pending:
            return succeed(not steps & self._pending)
        # Negative where this process stood still while it started.
        left = max(seconds, 0.0)
        timer = self._clock.callLater(left, lambda: self._finish_waiting(waiting, False))
        waiting = _Waiting(steps, timer)
        self._waiting[waiting] = None
        return waiting.done

    def _wake(self) -> None:
        """Continue requests that need not wait any more, the oldest first, some of them in each turn."""
        if self._waking is not None and self._waking.active():
            return
        free = [one for one in self._waiting if self._gave_up or not one.steps & self._pending]
        for waiting in free[:WAKES_PER_TURN]:
            self._finish_waiting(waiting, not waiting.steps & self._pending)
        if len(free) > WAKES_PER_TURN:
            self._waking = self._clock.callLater(0, self._wake)

    def _finish_waiting(self, waiting: _Waiting, is_done: bool) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            cancel_timer(waiting.timer)
            waiting.done.callback(is_done)
