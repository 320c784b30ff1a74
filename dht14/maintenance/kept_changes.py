"""The changes of the list of kept values that are under way. Clients and renewals change the same entries.

What a client asks for stands: a renewal of the same key that is under way writes nothing.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.records.kept import KeptBy, KeptEntry, KeptList, OnKept

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
    _under_way: dict[int, list[KeptEntry | None]] = field(factory=dict, init=False)
    """What each change that is not on disk yet writes, by key, the oldest first; None removes the entry."""
    touched_files: bool = field(default=True, init=False)
    """Whether parts may be on the list that no kept file has. Nobody knows after a start."""
    _renewals: set[int] = field(factory=set, init=False)
    """Keys that are being renewed; one leaves when a client changes its entry meanwhile."""

    def fits(self, entry: KeptEntry) -> bool:
        """Whether the list has room for this entry, in place of the one of its key."""
        held = self._kept.get(entry.key)
        growth = bytes_of(entry.size) - (bytes_of(held.size) if held is not None else 0)
        return growth <= 0 or self._kept.usage().size + self._pending_bytes + growth <= self._limit

    def held(self, key: int) -> KeptEntry | None:
        """Return the entry of a key as it will be when all that is under way is on disk."""
        under_way = self._under_way.get(key)
        return under_way[-1] if under_way else self._kept.get(key)

    def _change(
        self,
        key: int,
        entry: KeptEntry | None,
        change: Callable[[OnKept], None],
        settled: Callable[[], object] = lambda: None,
    ) -> "Deferred[bool]":
        """Make a change; it fires, and `settled` is called, when the disk has answered. One who stops waiting
        for it does not undo it."""
        if _differ_as_files(self.held(key), entry):
            self.touched_files = True
        done: Deferred[bool] = Deferred()
        under_way = self._under_way.setdefault(key, [])
        under_way.append(entry)

        def changed(is_safe: bool) -> None:
            del under_way[0]
            if not under_way:
                del self._under_way[key]
            settled()
            done.callback(is_safe)

        change(changed)
        return done

    # Clients

    def put(self, entry: KeptEntry, value: bytes | None) -> "Deferred[bool]":
        """Write an entry that a client wants on the list, with its value; None lets that stay. Fires with
        whether it is on disk."""
        size = entry.size if value is not None else 0
        return self._of_client(entry.key, size, entry, partial(self._kept.put, entry, value))

    def remove(self, key: int) -> "Deferred[bool]":
        """Remove the entry of a key for a client; fires with whether that is on disk."""
        return self._of_client(key, 0, None, partial(self._kept.remove, key))

    def _of_client(
        self, key: int, size: int, entry: KeptEntry | None, change: Callable[[OnKept], None]
    ) -> "Deferred[bool]":
        def settled() -> None:
            self._of_clients -= Counter((key,))
            self._pending_bytes -= bytes_of(size)

        self._renewals.discard(key)
        self._of_clients[key] += 1
        self._pending_bytes += bytes_of(size)
        return self._change(key, entry, change, settled)

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

    def renewed(self, entry: KeptEntry, value: bytes | None) -> "Deferred[bool]":
        """Write the entry of a value that was renewed, or not; fires with whether it is on disk."""
        return self._change(entry.key, entry, partial(self._kept.put, entry, value))


def _differ_as_files(before: KeptEntry | None, after: KeptEntry | None) -> bool:
    """Whether records of files may have lost or got what keeps them by this change."""
    by = (before.by if before is not None else KeptBy(0)) | (after.by if after is not None else KeptBy(0))
    if not by & (KeptBy.FILE | KeptBy.PART):
        return False
    if before is None or after is None:
        return True
    return (before.by, before.digest, before.state) != (after.by, after.digest, after.state)
