"""Where pieces and manifests are put and found, as uploads and downloads see it; and how often they try."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

from attrs import frozen

from dht14.errors import Dht14Error

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

WINDOW = 32
"""Pieces under way at once, at most. More gain nothing even with a round trip of 100 ms, and 32 have 2 MB."""


class Hope(Enum):
    """Whether it may help to try again, and how long to wait before each further try, in seconds."""

    GREAT = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0)
    """A node restarts, joins, or is overloaded."""
    SLOW = (0.5, 2.0, 4.0)
    """A node is silent: each try takes as long as a client waits, so these few take a minute, too."""
    SMALL = (0.5, 1.5, 3.0)
    """Holders are full, or nobody has found the value."""
    NONE = ()


class StoreTrouble(Dht14Error):
    """A value could not be stored or looked for. What happened is its `__cause__`."""

    def __init__(self, text: str, hope: Hope) -> None:
        super().__init__(text)
        self.hope = hope


class Missing(StoreTrouble):
    """A piece or a manifest is not found: it has expired, or was never stored."""

    def __init__(self) -> None:
        super().__init__("not found", Hope.SMALL)


class TransferFailed(Dht14Error):
    """An upload or a download ended before its end. What happened is its `__cause__`."""


class NoManifest(Dht14Error):
    """What stands under the address is no file."""


class ValueKind(Enum):
    """Who may replace a value that was found."""

    OPEN = auto()
    OWNER = auto()
    CONTENT = auto()


@frozen
class FoundValue:
    """A value that was found, verified; of an owner's value the payload."""

    value: bytes
    kind: ValueKind
    expires_in: int | None
    """Seconds that are left; None where the node does not say so."""


@frozen
class Copies:
    """On how many nodes a value is, and for how many it was meant; None where the node does not say so."""

    stored: int | None
    wanted: int | None


class Job(Awaitable[T_co], Protocol[T_co]):
    """A coroutine that runs by itself."""

    def __await__(self) -> Generator[Any, None, T_co]:
        """Return its result."""

    def discard(self) -> None:
        """Cancel it, and forget how it ends."""


class ContentStore(Protocol):
    """A node, and how coroutines run beside each other where it is used."""

    async def put(self, value: bytes) -> Copies:
        """Store a value under its SHA-256. Raises `StoreTrouble`."""

    async def find(self, key: bytes, content: bool) -> FoundValue | None:
        """Look for a value; with `content` only one whose SHA-256 is the key. Raises `StoreTrouble`."""

    def start(self, job: Coroutine[Any, Any, T]) -> Job[T]:
        """Let a coroutine run."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


async def try_often(store: ContentStore, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an attempt brings. Raises the last `StoreTrouble` when there is no more hope."""
    tries = 0
    while True:
        try:
            return await attempt()
        except StoreTrouble as trouble:
            if tries >= len(trouble.hope.value):
                raise
            await store.sleep(trouble.hope.value[tries])
        tries += 1


async def in_order(
    store: ContentStore,
    jobs: AsyncGenerator[Coroutine[Any, Any, T], None],
    limit: Callable[[], int] = lambda: WINDOW,
) -> AsyncGenerator[T, None]:
    """Run `limit` jobs at once, as many as it says then, and yield their results in the order of the jobs.

    The next job is taken when the oldest one has ended: results never pile up. Close the generator if it is
    left early.
    """
    running: deque[Job[T]] = deque()
    try:
        async for job in jobs:
            running.append(store.start(job))
            while len(running) >= limit():
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for begun in running:
            begun.discard()
        await jobs.aclose()
