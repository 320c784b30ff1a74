"""The invariants of the tables of a database; for tests and the simulator."""

from collections import Counter
from typing import Any

from dht14.database.entry_format import EntryFormat, pack_expiry, read_tags
from dht14.database.floor_table import FloorTable, LeftFloor, order_entry
from dht14.database.kept_records import KeptFormat
from dht14.database.limits import SpaceLimits
from dht14.database.tables import Tables, growth_of
from dht14.records.kept import KeptState
from dht14.records.record import Kind


def check_tables(tables: Tables, entry_format: EntryFormat, own_id: int, space: SpaceLimits) -> None:
    """Raise AssertionError if committed tables contradict themselves."""
    with tables.env.begin() as txn:
        floors = tables.floors
        for table, times in ((tables.records, tables.expiry), (floors.floors, floors.times)):
            entries = list(txn.cursor(table))
            opened = [(slot, *entry_format.open(slot, entry)) for slot, entry in entries]
            assert all(entry_format.slot(body.key) == slot for slot, _, body in opened)
            expiry_entries = sorted(pack_expiry(header.until, slot) for slot, header, _ in opened)
            assert expiry_entries == list(txn.cursor(times).iternext(values=False))
        _check_shares(txn, tables, entry_format, own_id, space)
        _check_kept(txn, tables, KeptFormat(entry_format))
        _check_floors(txn, floors, entry_format)


def _check_kept(txn: Any, tables: Tables, kept_format: KeptFormat) -> None:
    renewed = []
    for slot, sealed in txn.cursor(tables.kept):
        entry = kept_format.open(slot, sealed)
        assert kept_format.slot(entry.key) == slot
        if entry.state is KeptState.RENEWED:
            renewed.append(slot)
            value = kept_format.open_value(slot, txn.get(slot, db=tables.kept_values))
            assert len(value) == entry.size
    assert renewed == list(txn.cursor(tables.kept_values).iternext(values=False))


def _check_floors(txn: Any, floors: FloorTable, entry_format: EntryFormat) -> None:
    orders = []
    for slot, entry in txn.cursor(floors.floors):
        header, body = entry_format.open(slot, entry)
        left = LeftFloor(entry, body.is_brief, body.replication == Kind.OWNER)
        assert txn.get(pack_expiry(header.until, slot), db=floors.times) == left.standing
        orders.append(order_entry(slot, entry, left.standing))
    assert sorted(orders) == list(txn.cursor(floors.order).iternext(values=False))


def _check_shares(
    txn: Any, tables: Tables, entry_format: EntryFormat, own_id: int, space: SpaceLimits
) -> None:
    shares: Counter[bytes] = Counter()
    for slot, entry in txn.cursor(tables.records):
        record = entry_format.read(slot, entry)
        assert read_tags(entry) == entry_format.tags(record.writer, record.writer_subnet)
        shares.update(growth_of(entry, None).of_parties)
    assert shares == {tag: tables.share(txn, tag) for tag, _ in txn.cursor(tables.writers)}
    for tag in entry_format.tags(own_id, b""):
        del shares[tag]
    # Not the exact bound: pages are in use, and the bytes of a party are an estimate of them.
    assert all(share <= space.writer_share * space.open_to_others for share in shares.values())
