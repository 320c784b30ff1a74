"""A `ContentStore` in memory, for asyncio."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from attrs import define, field

from dht14.client.file_loop import _TaskJob
from dht14.files.content_store import Copies, FoundValue, Hope, StoreTrouble, ValueKind
from dht14.files.manifest import PIECE_BYTES

LIFETIME = 86_400


def sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def pieces_of(count: int, last: int = PIECE_BYTES) -> list[bytes]:
    """Return `count` different pieces; the last one has `last` bytes."""
    full = [number.to_bytes(8, "big") * (PIECE_BYTES // 8) for number in range(count)]
    return [*full[:-1], full[-1][:last]]


async def one_by_one(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@define(slots=False)
class MemoryStore:
    """Keeps values; loses, refuses and delays as a test says."""

    values: dict[bytes, bytes] = field(factory=dict)
    kinds: dict[bytes, ValueKind] = field(factory=dict)
    expires_in: dict[bytes, int] = field(factory=dict)
    copies: dict[bytes, int] = field(factory=dict)
    puts: list[bytes] = field(factory=list)
    """Keys, in the order in which they were put."""
    finds: list[bytes] = field(factory=list)
    troubles: dict[bytes, list[Hope]] = field(factory=dict)
    """For a key: how its next calls fail."""
    pauses: list[float] = field(factory=list)
    delays: Counter[bytes] = field(factory=Counter)
    """For a key: turns of the loop that a call takes."""
    running: int = 0
    most_running: int = 0

    async def put(self, value: bytes) -> Copies:
        key = sha256(value)
        await self._call(key)
        self.puts.append(key)
        self.values[key] = value
        return Copies(self.copies.get(key, 8), 8)

    async def find(self, key: bytes, content: bool) -> FoundValue | None:
        self.finds.append(key)
        await self._call(key)
        value = self.values.get(key)
        kind = self.kinds.get(key, ValueKind.CONTENT)
        if value is None or (content and kind is not ValueKind.CONTENT):
            return None
        return FoundValue(value, kind, self.expires_in.get(key, LIFETIME))

    def start(self, job: Coroutine[Any, Any, Any]) -> _TaskJob[Any]:
        return _TaskJob(asyncio.ensure_future(job))

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def _call(self, key: bytes) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for _ in range(1 + self.delays[key]):
                await asyncio.sleep(0)
        finally:
            self.running -= 1
        if self.troubles.get(key):
            raise StoreTrouble("it does not work", self.troubles[key].pop(0))
