"""What the calls for files need of the loop that runs them: coroutines beside each other, pauses, threads."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar, cast

from attrs import frozen

from dht14.files.content_store import Job

T = TypeVar("T")


class FileLoop(Protocol):
    """An event loop. Files of this host are read and written in threads: a disk or a pipe can be slow."""

    def start(self, job: Coroutine[Any, Any, T]) -> Job[T]:
        """As `ContentStore.start`."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        """Run a call in a thread that nobody waits for at the end of the program: it may wait for a pipe."""

    async def undisturbed(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a call in a thread, and wait for its end even if the caller is cancelled: then the file is
        closed."""


def run_in_thread(
    call: Callable[..., T], arguments: tuple[Any, ...], tell: Callable[[T | None, Exception | None], object]
) -> None:
    """Run a call in a thread; `tell` is called there with its result, or its error."""

    def run() -> None:
        result, error = None, None
        try:
            result = call(*arguments)
        except Exception as raised:  # noqa: BLE001 - whoever waits for it gets it
            error = raised
        tell(result, error)

    threading.Thread(target=run, daemon=True).start()


@frozen
class _TaskJob(Generic[T]):
    """As `Job`."""

    _task: "asyncio.Task[T]"

    def __await__(self) -> Generator[Any, None, T]:
        return self._task.__await__()

    def discard(self) -> None:
        """As `Job`."""
        self._task.cancel()
        # Otherwise asyncio reports that nobody has asked how it ended.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())


class AsyncioLoop:
    """A `FileLoop`: the running one of asyncio."""

    def start(self, job: Coroutine[Any, Any, T]) -> _TaskJob[T]:
        """As `FileLoop`."""
        return _TaskJob(asyncio.ensure_future(job))

    async def sleep(self, seconds: float) -> None:
        """As `FileLoop`."""
        await asyncio.sleep(seconds)

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """As `FileLoop`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast(T, result))

        def tell(result: T | None, error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(settle, result, error)

        run_in_thread(call, arguments, tell)
        return future

    async def undisturbed(self, call: Callable[..., T], *arguments: Any) -> T:
        """As `FileLoop`."""
        running = self.in_thread(call, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
