"""What the start of a node still waits for, and the requests of clients that wait for it. DESIGN 2.3.

A node that has just begun cannot know what is stored, and cannot store: "not found" from it says nothing.
So GETs and PUTs wait, within the time that they have in all; only then are they told that it is not ready.
"""

from collections.abc import Iterable
from enum import Enum

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.net.api.replies import PutGet
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record

DATABASE_TIMEOUT = 2.0
"""So long a GET waits for the own values to be open. The check of a large database takes longer: then the
other holders are asked, who have the same values."""

WAKES_PER_TURN = 256
"""So many requests go on before the reactor sees to others."""


class StartStep(Enum):
    """What must be over before a node can know."""

    IDENTITY = "identity"
    """It searches its proof of work; without an id there is no node."""
    VALUES = "values"
    """It opens its database, which checks it."""
    JOIN = "join"
    """It calls its seeds and saved contacts for the first time."""


@define(eq=False)
class _Waiting:
    """One request that waits until all of `steps` is over, or its time is."""

    steps: frozenset[StartStep]
    timer: IDelayedCall
    done: Deferred[bool] = field(factory=Deferred)


class Readiness:
    """The node as its API sees it from the first moment on; a `PutGet`.

    The service says what is over, each once, and who the node is as soon as there is one.
    """

    def __init__(self, clock: IReactorTime, pending_steps: Iterable[StartStep] = StartStep) -> None:
        self._clock = clock
        self._awaited = set(pending_steps)
        self._node: PutGet | None = None
        self._gave_up = False
        self._waiting: dict[_Waiting, None] = {}
        self._waking: IDelayedCall | None = None

    # What the service tells and asks.

    @property
    def pending_steps(self) -> frozenset[StartStep]:
        """What is not over yet."""
        return frozenset(self._awaited)

    def node_started(self, node: PutGet) -> None:
        """There is a node, with an identity."""
        self._node = node
        self.step_done(StartStep.IDENTITY)

    def step_done(self, steps: StartStep) -> None:
        """Go on with the requests that waited for this, and for nothing else."""
        self._awaited.discard(steps)
        self._wake()

    def give_up(self) -> None:
        """What is still awaited will not come any more: the node failed to begin, or it ends."""
        self._gave_up = True
        self._wake()

    # What the API asks.

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """As `PutGet.put`."""
        if self._node is not None and not self._awaited:
            return self._node.put(key, value, ttl, replication, timeout)
        return Deferred.fromCoroutine(self._put_later(key, value, ttl, replication, timeout))

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """As `PutGet.get`."""
        if self._node is not None and not self._awaited:
            return self._node.get(key, content, timeout)
        return Deferred.fromCoroutine(self._get_later(key, content, timeout))

    async def _put_later(self, key: int, value: bytes, ttl: int, replication: int, timeout: float) -> Receipt:
        deadline = self._clock.seconds() + timeout
        if not await self._until_done(frozenset(StartStep), timeout) or self._node is None:
            return Receipt(PutOutcome.NOT_STORED, 0, replication, PutReason.NOT_READY)
        return await self._node.put(key, value, ttl, replication, deadline - self._clock.seconds())

    async def _get_later(self, key: int, content: bool, timeout: float) -> Record | NoRecord:
        deadline = self._clock.seconds() + timeout
        if not await self._until_done(frozenset(StartStep), min(DATABASE_TIMEOUT, timeout)):
            left = deadline - self._clock.seconds()
            if not await self._until_done(frozenset({StartStep.IDENTITY, StartStep.JOIN}), left):
                return NoRecord.NOT_READY
        if self._node is None:
            return NoRecord.NOT_READY
        found = await self._node.get(key, content, deadline - self._clock.seconds())
        if StartStep.VALUES in self._awaited and found in (NoRecord.NOT_FOUND, NoRecord.UNANSWERED):
            return NoRecord.NOT_READY  # It may be among our own values.
        return found

    def _until_done(self, steps: frozenset[StartStep], seconds: float) -> "Deferred[bool]":
        """Whether all of `steps` is over within so many seconds."""
        if self._gave_up or not steps & self._awaited:
            return succeed(not steps & self._awaited)
        waiting = _Waiting(
            steps, self._clock.callLater(seconds, lambda: self._finish_waiting(waiting, False))
        )
        self._waiting[waiting] = None
        return waiting.done

    def _wake(self) -> None:
        """Let those go on who need not wait any more, the first first, some in a turn."""
        if self._waking is not None and self._waking.active():
            return
        free = [one for one in self._waiting if self._gave_up or not one.steps & self._awaited]
        for waiting in free[:WAKES_PER_TURN]:
            self._finish_waiting(waiting, not waiting.steps & self._awaited)
        if len(free) > WAKES_PER_TURN:
            self._waking = self._clock.callLater(0, self._wake)

    def _finish_waiting(self, waiting: _Waiting, is_over: bool) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            if waiting.timer.active():
                waiting.timer.cancel()
            waiting.done.callback(is_over)
