"""Many jobs, so many at a time."""

from collections.abc import Coroutine, Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults


def abreast(jobs: Iterable[Coroutine[Any, Any, object]], width: int) -> "Deferred[list[None]]":
    """Run these jobs, `width` of them at a time; fires when all have ended.

    `jobs` is only asked for one when it may begin. One that raises ends its lane, and is told at once.
    """
    waiting = iter(jobs)

    async def lane() -> None:
        for job in waiting:
            await job

    lanes = [Deferred.fromCoroutine(lane()) for _ in range(width)]
    return gatherResults(lanes, consumeErrors=True)
