"""How many values of an upload are under way at once: as many as the path carries.

Eight copies of each piece leave a node, so 32 pieces at once are 16 MB: over a slow path all of them would
miss their deadline, again and again. The window opens and closes as that of TCP does (RFC 5681): it grows by
one with each value that is stored, or, above the half of where values were last lost, with each round.
"""

from collections.abc import Awaitable
from typing import TypeVar

from attrs import define, field

from dht14.files.content_store import WINDOW, Hope, StoreTrouble

T = TypeVar("T")

INITIAL_WINDOW = 8
"""Values under way before any of them is stored: 4 MB with their copies, which 8 Mbit/s carry in time."""


@define(eq=False)
class Window:
    """The window of one upload."""

    _size: float = field(default=INITIAL_WINDOW, init=False)
    _threshold: float = field(default=WINDOW, init=False)
    """Above it the window grows slowly."""
    _losses: int = field(default=0, init=False)
    """How often the window has shrunk. What was under way then is part of the same loss."""

    @property
    def size(self) -> int:
        """How many values may be under way."""
        return int(self._size)

    async def watch(self, attempt: Awaitable[T]) -> T:
        """Return what an attempt to store a value brings, and learn from it."""
        losses = self._losses
        try:
            stored = await attempt
        except StoreTrouble as trouble:
            if trouble.hope in (Hope.GREAT, Hope.SLOW) and losses == self._losses:
                self._size = self._threshold = max(self._size / 2, 1.0)
                self._losses += 1
            raise
        grown = self._size + (1 if self._size < self._threshold else 1 / self._size)
        self._size = min(grown, WINDOW)
        return stored
