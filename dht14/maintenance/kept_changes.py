"""The changes of the list of kept values that are under way. Clients and renewals change the same entries.

What a client asks for stands: a renewal of the same key that is under way writes nothing.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.records.kept import KeptEntry, KeptList, OnKept

ENTRY_BYTES = 400
PAGE_BYTES = 4096
LARGEST_SHARED = 1_900
"""What an entry takes in the database beside its value, and from which length on a value takes whole
pages."""


def bytes_of(size: int) -> int:
    """Return about the bytes that a value of `size` bytes takes in the list."""
    pages = -(-size // PAGE_BYTES) * PAGE_BYTES if size > LARGEST_SHARED else size
    return pages + ENTRY_BYTES


@define(eq=False)
class KeptChanges:
    """The changes of one list that are under way."""

    _kept: KeptList
    _limit: int
    """Bytes of the list."""
    _pending_bytes: int = field(default=0, init=False)
    """Of values that are not on disk yet."""
    _of_clients: Counter[int] = field(factory=Counter, init=False)
    """The changes of clients that are not on disk yet, by key."""
    _renewals: set[int] = field(factory=set, init=False)
    """Keys that are being renewed; one leaves when a client changes its entry meanwhile."""

    def fits(self, entry: KeptEntry) -> bool:
        """Whether the list has room for this entry, in place of the one of its key."""
        held = self._kept.get(entry.key)
        growth = bytes_of(entry.size) - (bytes_of(held.size) if held is not None else 0)
        return growth <= 0 or self._kept.usage().size + self._pending_bytes + growth <= self._limit

    # Clients

    def put(self, entry: KeptEntry, value: bytes) -> "Deferred[bool]":
        """Write an entry that a client wants on the list; fires with whether it is on disk."""
        return self._change(entry.key, entry.size, partial(self._kept.put, entry, value))

    def remove(self, key: int) -> "Deferred[bool]":
        """Remove the entry of a key for a client; fires with whether that is on disk."""
        return self._change(key, 0, partial(self._kept.remove, key))

    def _change(self, key: int, size: int, change: Callable[[OnKept], None]) -> "Deferred[bool]":
        """Make a change. A client that stops waiting for it does not undo it."""
        done: Deferred[bool] = Deferred()

        def changed(is_safe: bool) -> None:
            self._of_clients -= Counter((key,))
            self._pending_bytes -= bytes_of(size)
            done.callback(is_safe)

        self._renewals.discard(key)
        self._of_clients[key] += 1
        self._pending_bytes += bytes_of(size)
        change(changed)
        return done

    # Renewals

    def is_client_changing(self, key: int) -> bool:
        """Whether a change that a client has asked for is not on disk yet."""
        return self._of_clients[key] > 0

    def renewal_began(self, key: int) -> None:
        """The value of this key is being renewed."""
        self._renewals.add(key)

    def renewal_ended(self, key: int) -> bool:
        """The value was renewed, or not. Return whether its entry may be written: no client has changed it
        meanwhile."""
        may_write = key in self._renewals
        self._renewals.discard(key)
        return may_write
