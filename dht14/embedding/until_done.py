"""Waits that a cancellation does not cut short."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def until_done(future: "asyncio.Future[T]") -> T:
    """Wait for the end of `future`, even if this task is cancelled meanwhile; raise the cancellation then."""
    cancellation = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellation = error
    result = future.result()
    if cancellation is not None:
        raise cancellation
    return result
