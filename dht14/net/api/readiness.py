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

VALUES_SECONDS = 2.0
"""So long a GET waits for the own values to be open. The check of a large database takes longer: then the
other holders are asked, who have the same values."""

WAKES_PER_TURN = 256
"""So many requests go on before the reactor sees to others."""


class Awaited(Enum):
    """What must be over before a node can know."""

    IDENTITY = "identity"
    """It searches its proof of work; without an id there is no node."""
    VALUES = "values"
    """It opens its database, which checks it."""
    JOIN = "join"
    """It calls its seeds and saved contacts for the first time."""


@define(eq=False)
class _Waiting:
    """One request that waits until all of `what` is over, or its time is."""

    what: frozenset[Awaited]
    time_over: IDelayedCall
    told: Deferred[bool] = field(factory=Deferred)


class Readiness:
    """The node as its API sees it from the first moment on; a `PutGet`.

    The service says what is over, each once, and who the node is as soon as there is one.
    """

    def __init__(self, clock: IReactorTime, awaited: Iterable[Awaited] = Awaited) -> None:
        self._clock = clock
        self._awaited = set(awaited)
        self._node: PutGet | None = None
        self._gave_up = False
        self._waiting: dict[_Waiting, None] = {}
        self._waking: IDelayedCall | None = None

    # What the service tells and asks.

    @property
    def awaited(self) -> frozenset[Awaited]:
        """What is not over yet."""
        return frozenset(self._awaited)

    def begun(self, node: PutGet) -> None:
        """There is a node, with an identity."""
        self._node = node
        self.over(Awaited.IDENTITY)

    def over(self, what: Awaited) -> None:
        """Go on with the requests that waited for this, and for nothing else."""
        self._awaited.discard(what)
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
        if not await self._until_over(frozenset(Awaited), timeout) or self._node is None:
            return Receipt(PutOutcome.NOT_STORED, 0, replication, PutReason.NOT_READY)
        return await self._node.put(key, value, ttl, replication, deadline - self._clock.seconds())

    async def _get_later(self, key: int, content: bool, timeout: float) -> Record | NoRecord:
        deadline = self._clock.seconds() + timeout
        if not await self._until_over(frozenset(Awaited), min(VALUES_SECONDS, timeout)):
            left = deadline - self._clock.seconds()
            if not await self._until_over(frozenset({Awaited.IDENTITY, Awaited.JOIN}), left):
                return NoRecord.NOT_READY
        if self._node is None:
            return NoRecord.NOT_READY
        found = await self._node.get(key, content, deadline - self._clock.seconds())
        if Awaited.VALUES in self._awaited and found in (NoRecord.NOT_FOUND, NoRecord.UNANSWERED):
            return NoRecord.NOT_READY  # It may be among our own values.
        return found

    def _until_over(self, what: frozenset[Awaited], seconds: float) -> "Deferred[bool]":
        """Whether all of `what` is over within so many seconds."""
        if self._gave_up or not what & self._awaited:
            return succeed(not what & self._awaited)
        waiting = _Waiting(what, self._clock.callLater(seconds, lambda: self._tell(waiting, False)))
        self._waiting[waiting] = None
        return waiting.told

    def _wake(self) -> None:
        """Let those go on who need not wait any more, the first first, some in a turn."""
        if self._waking is not None and self._waking.active():
            return
        free = [one for one in self._waiting if self._gave_up or not one.what & self._awaited]
        for waiting in free[:WAKES_PER_TURN]:
            self._tell(waiting, not waiting.what & self._awaited)
        if len(free) > WAKES_PER_TURN:
            self._waking = self._clock.callLater(0, self._wake)

    def _tell(self, waiting: _Waiting, is_over: bool) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            if waiting.time_over.active():
                waiting.time_over.cancel()
            waiting.told.callback(is_over)
