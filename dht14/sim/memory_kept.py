"""A list of kept values in memory: as that of the database, without a disk."""

from bisect import bisect_right, insort

from attrs import define, field

from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.kept import KeptEntry, KeptState, KeptSummary, KeptUsage, OnKept

ENTRY_BYTES = 500
"""Bytes that an entry counts beside its value."""


@define
class MemoryKept:
    """A `KeptList`, lost when the process ends. A mark is a key."""

    is_open: bool = True
    _entries: dict[int, KeptEntry] = field(factory=dict, init=False)
    _values: dict[int, bytes] = field(factory=dict, init=False)
    _keys: list[int] = field(factory=list, init=False)
    """Sorted."""

    def usage(self) -> KeptUsage:
        """As `KeptList`."""
        values = sum(map(len, self._values.values()))
        return KeptUsage(len(self._entries), ENTRY_BYTES * len(self._entries) + values)

    def put(self, entry: KeptEntry, value: bytes | None, done: OnKept) -> None:
        """As `KeptList`; done when it returns."""
        if entry.key not in self._entries:
            insort(self._keys, entry.key)
        self._entries[entry.key] = entry
        if value is not None:
            self._values[entry.key] = value
        elif entry.state is not KeptState.RENEWED:
            self._values.pop(entry.key, None)
        done(True)

    def remove(self, key: int, done: OnKept) -> None:
        """As `KeptList`; done when it returns."""
        if self._entries.pop(key, None) is not None:
            self._values.pop(key, None)
            self._keys.remove(key)
        done(True)

    def get(self, key: int) -> KeptEntry | None:
        """As `KeptList`."""
        return self._entries.get(key)

    def value(self, entry: KeptEntry) -> bytes | None:
        """As `KeptList`."""
        return self._values.get(entry.key)

    def summaries(self, mark: bytes, count: int) -> list[KeptSummary]:
        """As `KeptList`."""
        first = bisect_right(self._keys, id_from_bytes(mark)) if mark else 0
        return [self._entries[key].summary(id_to_bytes(key)) for key in self._keys[first : first + count]]

    def entry_at(self, mark: bytes) -> KeptEntry | None:
        """As `KeptList`."""
        return self._entries.get(id_from_bytes(mark))
