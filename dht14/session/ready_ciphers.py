"""Limits how many sessions of this process have their ciphers ready."""

from collections import deque
from typing import Protocol
from weakref import ref

MAX_READY = 512
"""Sessions of one process with ciphers. A pair of ciphers takes 5 KiB, thirty times as much as its keys."""


class HasCiphers(Protocol):
    """A session, as far as it matters here."""

    def release_ciphers(self) -> None:
        """Free the memory of the ciphers."""


class ReadyCiphers:
    """The sessions that keep their ciphers, at most `limit`.

    The session that made its ciphers first releases them first. If it is busy, it makes them again soon: the
    packets of `limit` sessions share that cost, and a packet of a session with ciphers costs nothing here.
    """

    def __init__(self, limit: int = MAX_READY) -> None:
        self._limit = limit
        self._ready: deque[ref[HasCiphers]] = deque()
        """The oldest first. Weak, so that the keys of a session that is over are not kept."""

    def made(self, session: HasCiphers) -> None:
        """A session has made its ciphers."""
        self._ready.append(ref(session))
        if len(self._ready) > self._limit:
            oldest = self._ready.popleft()()
            if oldest is not None:
                oldest.release_ciphers()


READY_CIPHERS = ReadyCiphers()
"""Of all nodes of this process: its memory is what they share."""
