"""The list of kept values in the database: a `KeptList` on its tables `kept` and `kept values`.

Slots are those of records. Entry: `due at f64 | try at f64 | changed at f64 | ttl u32 | state u8 | failure u8
| nonce 12 | sealed body`; a scan reads the part before the nonce, and opens only what is due. Body: `format
u8 | key 32 | kind u8 | version u64 | digest 32 | size u32 | replication u8 | kept at f64 | renewed at f64 |
expires at f64 | failing since f64 | kept by u8`. Format 1 has no last byte: whether such a value was kept by
its key or as a part of a file is not known, so it stays until it is let go by its key. A value is sealed for
itself, so that a renewal does not write it again.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import islice
from struct import Struct
from typing import Any

from attrs import define, field, frozen

from dht14.database.entry_format import EntryFormat
from dht14.database.eviction import ReadSnapshot
from dht14.database.group_commit import GroupCommit
from dht14.database.tables import Tables, Usage
from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.records.kept import KeptBy, KeptEntry, KeptState, KeptSummary, KeptUsage, OnKept, RenewalFailure
from dht14.records.record import Kind
from dht14.records.store import Outcome, Verdict

_FORMAT, _FORMER_FORMAT = 2, 1
_DIGEST_BYTES = 32
_HEADER = Struct(">dddIBB")
_BODY = Struct(f">B{ID_BYTES}sBQ{_DIGEST_BYTES}sIBdddd")
_BY = Struct("B")
_ENTRY, _VALUE = b"kept", b"kept value"
"""Associated data: an entry opens only as an entry, a value only as a value."""


@frozen
class KeptFormat:
    """Encodes and decodes entries of the list and their values."""

    _format: EntryFormat

    def slot(self, key: int) -> bytes:
        """Return the slot of a key."""
        return self._format.slot(key)

    def seal(self, slot: bytes, entry: KeptEntry) -> bytes:
        """Return the bytes of an entry."""
        header = _HEADER.pack(
            entry.due_at, entry.try_at, entry.changed_at, entry.ttl, entry.state, entry.failure
        )
        body = _BODY.pack(
            _FORMAT,
            id_to_bytes(entry.key),
            entry.kind,
            entry.version,
            entry.digest,
            entry.size,
            entry.replication,
            entry.kept_at,
            entry.renewed_at,
            entry.expires_at,
            entry.failing_since,
        )
        body += _BY.pack(entry.by)
        return header + self._format.vault.seal(body, _ENTRY + slot + header)

    def open(self, slot: bytes, sealed: bytes) -> KeptEntry:
        """Return an entry. Raises `Malformed`."""
        header = sealed[: _HEADER.size]
        body = self._format.vault.open(sealed[_HEADER.size :], _ENTRY + slot + header)
        if body[:1] == bytes([_FORMER_FORMAT]):
            body = bytes([_FORMAT]) + body[1:] + _BY.pack(KeptBy.KEY)
        if len(body) != _BODY.size + _BY.size or body[0] != _FORMAT:
            raise Malformed("a kept entry is of another format")
        due_at, try_at, changed_at, ttl, state, failure = _HEADER.unpack(header)
        _, key, kind, version, digest, size, replication, *times = _BODY.unpack_from(body)
        kept_at, renewed_at, expires_at, failing_since = times
        return KeptEntry(
            key=id_from_bytes(key),
            kind=Kind(kind),
            version=version,
            digest=digest,
            size=size,
            ttl=ttl,
            replication=replication,
            kept_at=kept_at,
            renewed_at=renewed_at,
            expires_at=expires_at,
            due_at=due_at,
            try_at=try_at,
            changed_at=changed_at,
            by=KeptBy(body[-1]),
            state=KeptState(state),
            failure=RenewalFailure(failure),
            failing_since=failing_since,
        )

    def summary(self, slot: bytes, sealed: bytes) -> KeptSummary:
        """Return the summary of an entry without opening it: nothing of it is authenticated."""
        if len(sealed) < _HEADER.size:
            # It is damaged; it counts as one that is never due.
            return KeptSummary(slot, 0.0, 0.0, 0.0, 1, KeptState.REPLACED, RenewalFailure.DAMAGED)
        due_at, try_at, changed_at, ttl, state, failure = _HEADER.unpack_from(sealed)
        return KeptSummary(slot, due_at, try_at, changed_at, ttl, state, failure)

    def seal_value(self, slot: bytes, value: bytes) -> bytes:
        """Return the bytes of a value."""
        return self._format.vault.seal(value, _VALUE + slot)

    def open_value(self, slot: bytes, sealed: bytes) -> bytes:
        """Return a value. Raises `Malformed`."""
        return self._format.vault.open(sealed, _VALUE + slot)


@define(eq=False)
class KeptRecords:
    """The list of one database. Its methods are those of `KeptList`."""

    _entry_format: EntryFormat
    _commits: GroupCommit
    _read_snapshot: ReadSnapshot
    """Reads nothing while the database cannot be read."""
    _is_usable: Callable[[], bool]
    """Whether the database is open, and its file in its place."""
    _usage: Usage = field(factory=Usage, init=False)
    _format: KeptFormat = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._format = KeptFormat(self._entry_format)

    def written(self, usage: Usage) -> None:
        """The database has this size now."""
        self._usage = usage

    @property
    def is_open(self) -> bool:
        """As `KeptList`."""
        return self._is_usable()

    def usage(self) -> KeptUsage:
        """As `KeptList`."""
        return KeptUsage(self._usage.kept, self._usage.kept_size)

    # write

    def put(self, entry: KeptEntry, value: bytes | None, done: OnKept) -> None:
        """As `KeptList`."""
        slot = self._format.slot(entry.key)
        sealed = self._format.seal_value(slot, value) if value is not None else None
        keeps_value = value is None and entry.state is KeptState.RENEWED
        self._change(slot, self._format.seal(slot, entry), sealed, keeps_value, done)

    def remove(self, key: int, done: OnKept) -> None:
        """As `KeptList`."""
        self._change(self._format.slot(key), None, None, False, done)

    def _change(
        self, slot: bytes, entry: bytes | None, value: bytes | None, keeps_value: bool, done: OnKept
    ) -> None:
        if not self.is_open or not self._commits.may_change_kept(slot):
            done(False)
            return
        self._commits.change_kept(slot, entry, value, keeps_value=keeps_value, done=partial(_report, done))

    # read

    def get(self, key: int) -> KeptEntry | None:
        """As `KeptList`."""
        entry = self.entry_at(self._format.slot(key))
        return entry if entry is not None and entry.key == key else None

    def value(self, entry: KeptEntry) -> bytes | None:
        """As `KeptList`."""
        slot = self._format.slot(entry.key)
        sealed = self._read_snapshot(lambda txn, tables: txn.get(slot, db=tables.kept_values), None)
        try:
            value = self._format.open_value(slot, sealed) if sealed is not None else b""
        except Malformed:
            return None
        return value if hashlib.sha256(value).digest() == entry.digest else None

    def summaries(self, mark: bytes, count: int) -> list[KeptSummary]:
        """As `KeptList`."""

        def query(txn: Any, tables: Tables) -> list[tuple[bytes, bytes]]:
            with txn.cursor(tables.kept) as cursor:
                return list(islice(cursor, count)) if cursor.set_range(mark + b"\0") else []

        nothing: list[tuple[bytes, bytes]] = []
        return [self._format.summary(slot, sealed) for slot, sealed in self._read_snapshot(query, nothing)]

    def entry_at(self, mark: bytes) -> KeptEntry | None:
        """As `KeptList`."""
        sealed = self._read_snapshot(lambda txn, tables: txn.get(mark, db=tables.kept), None)
        try:
            return self._format.open(mark, sealed) if sealed is not None else None
        except (Malformed, ValueError):
            return None


def _report(done: OnKept, verdict: Verdict) -> None:
    done(verdict.outcome is Outcome.HELD)
