"""Keep: the list of the values that a node renews for its clients. `KeptRenewals` renews them."""

from collections.abc import Callable

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from dht14.errors import Malformed
from dht14.maintenance.kept_changes import KeptChanges
from dht14.maintenance.kept_files import KeptFiles, UnkeptFile, may_name
from dht14.maintenance.kept_renewals import KeptRenewals
from dht14.maintenance.metrics import KeptMetrics
from dht14.node.node import Node
from dht14.node.policy import Policy
from dht14.records.kept import (
    KeepRefusal,
    KeptBy,
    KeptEntry,
    KeptList,
    KeptPage,
    KeptState,
    page_of,
    phase_of,
)
from dht14.records.record import Kind, Record, proven


@define(eq=False)
class Keeper:
    """What the clients of one node may do with its list."""

    _node: Node
    _kept: KeptList
    _policy: Policy
    _limit: int
    """Bytes of the list."""
    _clock: IReactorTime
    _is_joined: Callable[[], bool]
    """As in `KeptRenewals`."""
    metrics: KeptMetrics = field(init=False)
    renewals: KeptRenewals = field(init=False)
    files: KeptFiles = field(init=False)
    _changes: KeptChanges = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics = KeptMetrics(limit=self._limit)
        self._changes = KeptChanges(self._kept, self._limit)
        self.renewals = KeptRenewals(
            self._node, self._kept, self._changes, self._policy, self._clock, self._is_joined, self.metrics
        )
        self.files = KeptFiles(self._kept, self._changes, self._clock)
        self._node.call_for_stored(self.put_again)

    async def keep(
        self,
        key: int,
        value: bytes,
        version: int | None,
        ttl: int,
        replication: int,
        by: KeptBy = KeptBy.KEY,
    ) -> KeptEntry | KeepRefusal:
        """Put a value that has just been stored on the list; it is on disk when this returns.

        `version`: that of the receipt; only an open value needs it. The policy bounds `ttl` (seconds) and
        `replication`; 0 asks for its default. `by`: what `unkeep` lets go later; a value may be kept by both.
        """
        expires_at = self._clock.seconds() + self._policy.ttl(ttl)
        record = Record(key=key, value=value, version=version or 0, expires_at=expires_at, replication=0)
        if record.kind is Kind.OPEN and version is None:
            return KeepRefusal.NO_VERSION
        return await self._keep(record, ttl, replication, by, was_found=False)

    async def keep_record(
        self, record: Record, ttl: int, replication: int, by: KeptBy = KeptBy.KEY
    ) -> KeptEntry | KeepRefusal:
        """Put a record that was found on the list, as `keep`. It is renewed at once."""
        return await self._keep(record, ttl, replication, by, was_found=True)

    async def _keep(
        self, record: Record, ttl: int, replication: int, by: KeptBy, *, was_found: bool
    ) -> KeptEntry | KeepRefusal:
        ttl, copies = self._policy.ttl(ttl), self._policy.copies(replication)
        record = evolve(record, replication=copies, writer=self._node.own_id, writer_subnet=b"")
        if record.is_owned:
            try:
                record = proven(record)
            except Malformed:
                return KeepRefusal.NOT_AUTHENTIC
            if record.is_tombstone:
                return KeepRefusal.DELETED
        elif record.kind is Kind.CONTENT:
            record = evolve(record, version=0)
        now = self._clock.seconds()
        phase = phase_of(record.key, self._node.own_id)
        entry = evolve(KeptEntry.of(record, ttl, copies, now, phase, was_found=was_found), by=by)
        if KeptBy.FILE in by and not may_name(entry):
            return KeepRefusal.NO_FILE
        if not self._kept.is_open:
            return KeepRefusal.NOT_READY
        if not self._changes.fits(entry):
            return KeepRefusal.LIST_FULL
        value: bytes | None = record.value
        if (held := self._changes.held(record.key)) is not None:
            entry = evolve(entry, by=entry.by | held.by)
            if held.is_later(entry, now):  # Another client has kept it since this one has put.
                later, value = evolve(held, ttl=ttl, replication=copies, by=entry.by), None
                entry = later.due_soon(now)
        if not await self._changes.put(entry, value):
            return KeepRefusal.NOT_READY
        self.renewals.entry_written(entry)
        return entry

    def put_again(self, record: Record) -> "Deferred[bool] | None":
        """Renew this record, which a client of this node has put, in place of an earlier one of the list,
        with the time to live and the copies of that. Fires with whether it is on disk; None: nothing changes.

        Otherwise the key would be lost: the earlier value must not come back, and nothing renews this one.
        """
        held = self._changes.held(record.key)
        if held is None or held.state is not KeptState.RENEWED or record.is_tombstone:
            return None
        if held.kind is not record.kind or held.version >= record.version:
            return None
        now = self._clock.seconds()
        entry = held.put_again(record, now, phase_of(record.key, self._node.own_id))
        if not self._changes.fits(entry):
            return None
        written = self._changes.put(entry, record.value if entry.digest != held.digest else None)
        self.renewals.entry_written(entry)
        return written

    async def unkeep(self, key: int, by: KeptBy = KeptBy.KEY) -> KeptBy | KeepRefusal | None:
        """Let go of what keeps a value. Return what still does: nothing, and it has left the list and will
        expire; None if it was not kept in this way.

        By its key a value leaves the list even if only a file has brought it there.
        """
        if not self._kept.is_open:
            return KeepRefusal.NOT_READY
        held = self._changes.held(key)
        if held is None or (by is not KeptBy.KEY and by not in held.by):
            return None
        left = held.by & ~by if by in held.by else KeptBy(0)
        change = self._changes.put(evolve(held, by=left), None) if left else self._changes.remove(key)
        return left if await change else KeepRefusal.NOT_READY

    async def unkeep_file(self, key: int) -> UnkeptFile | KeepRefusal | None:
        """Let go of the file with this address; None: no file is kept under it. It need not be found."""
        return await self.files.unkeep(key) if self._kept.is_open else KeepRefusal.NOT_READY

    async def one_pass(self) -> None:
        """Let go of the parts that no kept file has any more, and renew what is due."""
        if self._kept.is_open:
            await self.files.tidy()
            await self.renewals.one_pass()

    @property
    def used(self) -> int:
        """Bytes of the list."""
        return self._kept.usage().size

    def page(self, mark: bytes, count: int) -> KeptPage:
        """Return at most `count` entries after a mark."""
        return page_of(self._kept, mark, count)
