"""The records that readers ask for again and again, decrypted once."""

from attrs import define, field

from dht14.records.record import Record

MAX_REMEMBERED = 1_024
MAX_REMEMBERED_ENTRY = 1_400
"""Bytes of the largest entry that is remembered: all of them together take at most 4 MB. To compare and to
hash a larger value costs most of what decrypting it does."""


@define(eq=False)
class OpenedRecords:
    """Records of entries that were decrypted. It is emptied when full.

    A record is returned only for the same entry, byte by byte, as it is in the file now: what was replaced,
    dropped or damaged there is never found here.
    """

    _by_key: dict[int, tuple[bytes, bytes, Record]] = field(factory=dict, init=False)
    """Slot, entry and record by key."""

    def slot(self, key: int) -> bytes | None:
        """Return the slot of a key whose record is remembered; None if it is not."""
        known = self._by_key.get(key)
        return known[0] if known is not None else None

    def find(self, key: int, entry: bytes) -> Record | None:
        """Return the record of this entry; None if it is not remembered."""
        known = self._by_key.get(key)
        return known[2] if known is not None and known[1] == entry else None

    def add(self, slot: bytes, entry: bytes, record: Record) -> None:
        """Remember the record of an entry that was decrypted."""
        if len(entry) > MAX_REMEMBERED_ENTRY:
            return
        if len(self._by_key) >= MAX_REMEMBERED:
            self._by_key.clear()
        self._by_key[record.key] = slot, entry, record
