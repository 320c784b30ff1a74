"""Packs and unpacks the entries of an INVENTORY: the same number of bytes for each.

`key 32 | mark 8 | seconds to live u32 | replication u8`, one after another.
"""

from collections.abc import Iterable
from struct import Struct

from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.wire.messages import MARK_BYTES, MAX_TTL_MS, InventoryEntry

MAX_ENTRIES = 24
"""As many as fit a datagram."""
MAX_TTL_SECONDS = MAX_TTL_MS // 1000

_ENTRY = Struct(f">32s{MARK_BYTES}sIB")


def pack_entries(entries: Iterable[InventoryEntry]) -> bytes:
    """Return the bytes of these entries."""
    return b"".join(
        _ENTRY.pack(id_to_bytes(entry.key), entry.mark, entry.ttl_seconds, entry.replication)
        for entry in entries
    )


def unpack_entries(data: bytes) -> tuple[InventoryEntry, ...]:
    """Return the entries. Raises `Malformed` unless there are 1 to MAX_ENTRIES whole ones with valid
    fields."""
    if not data or len(data) % _ENTRY.size or len(data) > MAX_ENTRIES * _ENTRY.size:
        raise Malformed(f"not 1 to {MAX_ENTRIES} entries of an inventory")
    entries = tuple(
        InventoryEntry(id_from_bytes(key), mark, ttl_seconds, replication)
        for key, mark, ttl_seconds, replication in _ENTRY.iter_unpack(data)
    )
    for entry in entries:
        if entry.ttl_seconds > MAX_TTL_SECONDS or not 1 <= entry.replication <= MAX_REPLICATION:
            raise Malformed("an entry of an inventory with a field out of its range")
    return entries
