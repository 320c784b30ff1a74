"""A running node as the place where the pieces of files are put and found."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.files.content_store import Copies, FoundValue, Hope, StoreTrouble, ValueKind
from dht14.kademlia.keyspace import hash_id, id_from_bytes
from dht14.net.admin.view import NodeView
from dht14.node.concurrency import DeferredJob
from dht14.records.envelope import decode
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Kind

T = TypeVar("T")

_KINDS = {Kind.OPEN: ValueKind.OPEN, Kind.OWNER: ValueKind.OWNER, Kind.CONTENT: ValueKind.CONTENT}

_HOPES = {
    PutReason.NOT_READY: Hope.GREAT,
    PutReason.TOO_FEW_HOLDERS: Hope.GREAT,
    PutReason.UNFINISHED: Hope.GREAT,
    PutReason.NO_ROOM: Hope.SMALL,
    PutReason.WRITER_SHARE: Hope.SMALL,
}


class NotStored(Exception):
    """The receipt of a piece that is not stored."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.reason.name)
        self.receipt = receipt


class NotKnown(Exception):
    """Why it is not known whether there is a piece."""

    def __init__(self, reason: NoRecord) -> None:
        super().__init__(reason.name)
        self.reason = reason


@frozen
class ViewStore:
    """A `ContentStore` for Twisted."""

    _view: NodeView
    _clock: IReactorTime
    _ttl: int = 0
    _replication: int = 0

    async def put(self, value: bytes) -> Copies:
        """As `ContentStore`."""
        receipt = await self._view.put(hash_id(value), value, self._ttl, self._replication)
        if receipt.outcome is PutOutcome.NOT_STORED:
            hope = _HOPES.get(receipt.reason, Hope.NONE)
            raise StoreTrouble(f"not stored: {receipt.reason.name.lower()}", hope) from NotStored(receipt)
        return Copies(receipt.stored, receipt.wanted)

    async def find(self, key: bytes, content: bool) -> FoundValue | None:
        """As `ContentStore`."""
        found = await self._view.get(id_from_bytes(key), content)
        if found in (NoRecord.NOT_FOUND, NoRecord.DELETED):
            return None
        if isinstance(found, NoRecord):
            raise StoreTrouble("the nodes that should know did not answer", Hope.GREAT) from NotKnown(found)
        value = found.value
        if found.kind is Kind.OWNER:
            value = decode(value).payload
        expires_in = max(int(found.expires_at - self._clock.seconds()), 0)
        return FoundValue(value, _KINDS[found.kind], expires_in)

    def start(self, job: Coroutine[Any, Any, T]) -> DeferredJob[T]:
        """As `ContentStore`."""
        return DeferredJob.of(job)

    async def sleep(self, seconds: float) -> None:
        """As `ContentStore`."""
        await deferLater(self._clock, seconds)
