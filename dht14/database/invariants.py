"""What is true of the tables of every sound database; for tests and the simulator."""

from collections import Counter
from typing import Any

from dht14.database.entry_format import EntryFormat, due_entry, read_tags
from dht14.database.floor_table import FloorTable, LeftFloor, order_entry
from dht14.database.limits import SpaceLimits
from dht14.database.tables import Tables, growth_of
from dht14.records.record import Kind


def check_tables(tables: Tables, entry_format: EntryFormat, own_id: int, room: SpaceLimits) -> None:
    """Raise AssertionError where committed tables contradict themselves."""
    with tables.env.begin() as txn:
        floors = tables.floors
        for table, times in ((tables.records, tables.expiry), (floors.floors, floors.times)):
            entries = list(txn.cursor(table))
            opened = [(place, *entry_format.open(place, entry)) for place, entry in entries]
            assert all(entry_format.place(body.key) == place for place, _, body in opened)
            dues = sorted(due_entry(head.until, place) for place, head, _ in opened)
            assert dues == list(txn.cursor(times).iternext(values=False))
        _check_shares(txn, tables, entry_format, own_id, room)
        _check_floors(txn, floors, entry_format)


def _check_floors(txn: Any, floors: FloorTable, entry_format: EntryFormat) -> None:
    orders = []
    for place, entry in txn.cursor(floors.floors):
        head, body = entry_format.open(place, entry)
        left = LeftFloor(entry, body.is_brief, body.replication == Kind.OWNER)
        assert txn.get(due_entry(head.until, place), db=floors.times) == left.standing
        orders.append(order_entry(place, entry, left.standing))
    assert sorted(orders) == list(txn.cursor(floors.order).iternext(values=False))


def _check_shares(
    txn: Any, tables: Tables, entry_format: EntryFormat, own_id: int, room: SpaceLimits
) -> None:
    shares: Counter[bytes] = Counter()
    for place, entry in txn.cursor(tables.records):
        record = entry_format.read(place, entry)
        assert read_tags(entry) == entry_format.tags(record.writer, record.writer_subnet)
        shares.update(growth_of(entry, None).of_parties)
    assert shares == {tag: tables.share(txn, tag) for tag, _ in txn.cursor(tables.writers)}
    for tag in entry_format.tags(own_id, b""):
        del shares[tag]
    # Not the exact bound: what is in use are pages, and a party's bytes are an estimate of them.
    assert all(share <= room.writer_share * room.of_others for share in shares.values())
