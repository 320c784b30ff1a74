"""A node's API as the place where the pieces of files are put and found."""

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

from dht14.client.answers import Receipt, Value
from dht14.client.errors import DhtError, Forged, NoNode, NotReady, Refused, TimedOut, is_silence
from dht14.client.file_loop import FileLoop
from dht14.client.keys import Key
from dht14.client.plans import Owner
from dht14.files.content_store import Copies, FoundValue, Hope, Job, StoreTrouble, ValueKind
from dht14.records.receipt import PutReason

T = TypeVar("T")

_KINDS = {"open": ValueKind.OPEN, "owner": ValueKind.OWNER, "content": ValueKind.CONTENT}

FULL = (PutReason.NO_ROOM, PutReason.WRITER_SHARE)
"""Reasons that stay until holders have room."""
_WRONG = (PutReason.CONFLICT, PutReason.NOT_AUTHENTIC)


class ValueClient(Protocol):
    """The calls of `dht14.aio.Client` and `dht14.Node` that files need."""

    def put_content(self, value: bytes, *, ttl: int = 0, replication: int = 0) -> Awaitable[Receipt]:
        """As `Client`."""

    def put_signed(
        self,
        value: bytes,
        owner: Owner,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        *,
        ttl: int = 0,
        replication: int = 0,
    ) -> Awaitable[Receipt]:
        """As `Client`."""

    def get(self, key: Key) -> Awaitable[Value | None]:
        """As `Client`."""

    def get_content(self, key: Key) -> Awaitable[Value | None]:
        """As `Client`."""


class ClientStore:
    """A `ContentStore`."""

    def __init__(self, client: ValueClient, loop: FileLoop, ttl: int = 0, replication: int = 0) -> None:
        self.loop = loop
        self._client = client
        self._ttl = ttl
        self._replication = replication
        self._was_answered = False

    async def put(self, value: bytes) -> Copies:
        """As `ContentStore`."""
        try:
            receipt = await self._client.put_content(value, ttl=self._ttl, replication=self._replication)
        except DhtError as error:
            raise self._trouble(error) from error
        self._was_answered = True
        return Copies(receipt.copies, receipt.wanted)

    async def find(self, key: bytes, content: bool) -> FoundValue | None:
        """As `ContentStore`."""
        try:
            value = await (self._client.get_content(key) if content else self._client.get(key))
        except DhtError as error:
            raise self._trouble(error) from error
        self._was_answered = True
        return None if value is None else FoundValue(value.value, _KINDS[value.kind], value.expires_in)

    def start(self, job: Coroutine[Any, Any, T]) -> Job[T]:
        """As `ContentStore`."""
        return self.loop.start(job)

    async def sleep(self, seconds: float) -> None:
        """As `ContentStore`."""
        await self.loop.sleep(seconds)

    def _trouble(self, error: DhtError) -> StoreTrouble:
        return StoreTrouble(str(error), self._hope(error))

    def _hope(self, error: DhtError) -> Hope:
        if isinstance(error, NoNode):
            # A node that was there may restart. One that never was is more likely a wrong address.
            return Hope.GREAT if self._was_answered else Hope.NONE
        if isinstance(error, Refused):
            if error.reason in _WRONG:
                return Hope.NONE
            return Hope.SMALL if error.reason in FULL else Hope.GREAT
        if is_silence(error):
            # One that never answered may be suspended, or no node at all.
            return Hope.SLOW if self._was_answered else Hope.NONE
        if isinstance(error, NotReady | TimedOut):
            return Hope.GREAT
        return Hope.SMALL if isinstance(error, Forged) else Hope.NONE
