"""Keep: renews the values that the clients of this node want to stay, from a list on its disk.

Runs every `keep_interval` (10 s with the default `min_ttl`) and scans the list; an empty one costs nothing. A
value is renewed when 0.4 to 0.6 of its life are over: those of one region at the same moment, so that they
share a lookup. At most RENEWALS_PER_SECOND, REGIONS_AT_ONCE regions side by side, the most urgent first.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from itertools import groupby

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP
from dht14.maintenance.kept_report import KeptCensus, KeptReport
from dht14.maintenance.metrics import KeptMetrics
from dht14.maintenance.region import RegionLookups
from dht14.node.concurrency import run_limited
from dht14.node.node import Node
from dht14.node.put import Policy
from dht14.node.renew import NotRenewed, RecordRenewer, Renewal, Renewed, Replaced
from dht14.records.kept import (
    REGION_BITS,
    KeepRefusal,
    KeptEntry,
    KeptList,
    KeptPage,
    KeptState,
    RenewalFailure,
    page_of,
    phase_of,
)
from dht14.records.record import Kind, Record, proven
from dht14.security.rate_limiter import TokenBucket

RENEWALS_PER_SECOND = 32.0
REGIONS_AT_ONCE = 8
"""Limits on the traffic of renewals. Within a region one follows another."""

BATCH = 256
"""Renewals between two scans of the list."""

SCAN_PAGE = 500
"""Entries that are looked at before the reactor does other work: about a millisecond."""

DISK_PAUSE = 60.0
"""Seconds without renewals after the list could not be written: they would be repeated."""

ENTRY_BYTES = 400
PAGE_BYTES = 4096
LARGEST_SHARED = 1_900
"""What an entry takes in the database beside its value, and from which length on a value takes whole
pages."""


def keep_interval(min_ttl: float) -> float:
    """Return the seconds between two looks at the list: the shortest life is renewed in time."""
    return min(max(min_ttl / 6, 0.5), 15.0)


def bytes_of(size: int) -> int:
    """Return about the bytes that a value of `size` bytes takes in the list."""
    pages = -(-size // PAGE_BYTES) * PAGE_BYTES if size > LARGEST_SHARED else size
    return pages + ENTRY_BYTES


@define(eq=False)
class Keeper:
    """The list of the values that one node renews, and their renewals."""

    _node: Node
    _kept: KeptList
    _policy: Policy
    _limit: int
    """Bytes of the list."""
    _clock: IReactorTime
    _is_joined: Callable[[], bool]
    """Whether the first try to join is over: before that nothing can be known of any key."""
    metrics: KeptMetrics = field(init=False)
    on_due: Callable[[], object] = field(default=lambda: None, init=False)
    """Called when a new value is to be renewed at once."""
    _report: KeptReport = field(factory=KeptReport, init=False)
    _renewer: RecordRenewer = field(init=False)
    _bucket: TokenBucket = field(init=False)
    _pending_bytes: int = field(default=0, init=False)
    """Of values that are not on disk yet."""
    _changing: Counter[int] = field(factory=Counter, init=False)
    """The changes of clients that are not on disk yet, by key."""
    _renewing: set[int] = field(factory=set, init=False)
    """Keys that are being renewed; one leaves when a client changes its entry meanwhile."""
    _damaged: set[bytes] = field(factory=set, init=False)
    """The marks of entries that cannot be opened."""
    _paused_until: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._renewer = self._node.renewer()
        self._bucket = TokenBucket(RENEWALS_PER_SECOND, RENEWALS_PER_SECOND, self._clock.seconds())
        self.metrics = KeptMetrics(limit=self._limit)

    # The list

    async def keep(
        self, key: int, value: bytes, version: int | None, ttl: int, replication: int
    ) -> KeptEntry | KeepRefusal:
        """Put a value that has just been stored on the list; it is on disk when this returns.

        `version`: that of the receipt; only an open value needs it. The policy bounds `ttl` (seconds) and
        `replication`; 0 asks for its default.
        """
        expires_at = self._clock.seconds() + self._policy.ttl(ttl)
        record = Record(key=key, value=value, version=version or 0, expires_at=expires_at, replication=0)
        if record.kind is Kind.OPEN and version is None:
            return KeepRefusal.NO_VERSION
        return await self._keep(record, ttl, replication, was_found=False)

    async def keep_record(self, record: Record, ttl: int, replication: int) -> KeptEntry | KeepRefusal:
        """Put a record that was found on the list, as `keep`. It is renewed at once."""
        return await self._keep(record, ttl, replication, was_found=True)

    async def _keep(
        self, record: Record, ttl: int, replication: int, *, was_found: bool
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
        entry = KeptEntry.of(record, ttl, copies, now, self._phase(record.key), was_found=was_found)
        if not self._kept.is_open:
            return KeepRefusal.NOT_READY
        if not self._fits(entry):
            return KeepRefusal.LIST_FULL
        if not await self._change(entry.key, partial(self._kept.put, entry, record.value), entry.size):
            return KeepRefusal.NOT_READY
        self._damaged.clear()  # The entry may have replaced a damaged one.
        if entry.due_at <= now:
            self.on_due()
        return entry

    async def unkeep(self, key: int) -> bool | KeepRefusal:
        """Take a key off the list: what is stored expires then. Return whether it was on the list."""
        if not self._kept.is_open:
            return KeepRefusal.NOT_READY
        was_kept = self._kept.get(key) is not None
        removed = await self._change(key, partial(self._kept.remove, key), 0)
        return was_kept if removed else KeepRefusal.NOT_READY

    @property
    def used(self) -> int:
        """Bytes of the list."""
        return self._kept.usage().size

    def page(self, mark: bytes, count: int) -> KeptPage:
        """Return at most `count` entries after a mark."""
        return page_of(self._kept, mark, count)

    def _change(
        self, key: int, change: Callable[[Callable[[bool], None]], None], size: int
    ) -> "Deferred[bool]":
        """Make a change that a client has asked for; fires with whether it is on disk.

        A client that stops waiting changes nothing else: the disk has the change all the same.
        """
        done: Deferred[bool] = Deferred()

        def changed(is_safe: bool) -> None:
            self._changing -= Counter((key,))
            self._pending_bytes -= bytes_of(size)
            done.callback(is_safe)

        self._renewing.discard(key)
        self._changing[key] += 1
        self._pending_bytes += bytes_of(size)
        change(changed)
        return done

    def _fits(self, entry: KeptEntry) -> bool:
        held = self._kept.get(entry.key)
        growth = bytes_of(entry.size) - (bytes_of(held.size) if held is not None else 0)
        return growth <= 0 or self._kept.usage().size + self._pending_bytes + growth <= self._limit

    def _phase(self, key: int) -> float:
        return phase_of(key, self._node.own_id)

    # The pass

    async def one_pass(self) -> None:
        """Renew all values whose time has come."""
        if not self._kept.is_open:
            return
        # A list that could not be read for a moment has damaged nothing.
        self._damaged = {mark for mark in self._damaged if self._kept.entry_at(mark) is None}
        while marks := await self._most_urgent():
            if not self._is_joined() or self._node.table.is_cut_off:
                return
            if self._clock.seconds() < self._paused_until:
                return
            entries = [entry for mark in marks if (entry := self._opened(mark)) is not None]
            entries.sort(key=lambda entry: entry.key)
            regions = groupby(entries, key=lambda entry: entry.key >> 256 - REGION_BITS)
            before = self.metrics.ended
            replaced, deleted = self.metrics.replaced, self.metrics.deleted
            jobs = map(self._renew_region, [list(group) for _, group in regions])
            await run_limited(jobs, REGIONS_AT_ONCE)
            self._report.stopped(self.metrics.replaced - replaced, self.metrics.deleted - deleted)
            if self.metrics.ended == before:
                return  # Clients are changing all that is due; the next pass sees what becomes of that.

    async def _most_urgent(self) -> list[bytes]:
        """Scan the list, count its entries, and return the marks of those to renew now."""
        now, census = self._clock.seconds(), KeptCensus()
        urgent: list[tuple[float, bytes]] = []
        mark = b""
        while summaries := self._kept.summaries(mark, SCAN_PAGE):
            for summary in summaries:
                is_damaged = summary.mark in self._damaged
                census.add(summary, now, is_damaged)
                urgency = summary.urgency(now)
                if urgency >= 0 and not is_damaged:
                    urgent.append((urgency, summary.mark))
            urgent = nlargest(BATCH, urgent)
            mark = summaries[-1].mark
            if len(summaries) < SCAN_PAGE:
                break
            await deferLater(self._clock, 0)
        census.show(self.metrics, self._kept.usage().size)
        self._report.scanned(census)
        return [mark for _, mark in urgent]

    def _opened(self, mark: bytes) -> KeptEntry | None:
        entry = self._kept.entry_at(mark)
        if entry is None:
            self._damaged.add(mark)
        return entry

    async def _renew_region(self, entries: list[KeptEntry]) -> None:
        lookups = RegionLookups(self._node)
        for entry in entries:
            while (wait := self._bucket.wait(self._clock.seconds())) > 0:
                await deferLater(self._clock, wait)
            self._bucket.take(self._clock.seconds())
            near = await lookups.contacts_near(entry.key, max(entry.replication, GROUP))
            await self._renew(entry, near or ())

    async def _renew(self, entry: KeptEntry, near: tuple[Contact, ...]) -> None:
        key = entry.key
        if self._changing[key] or self._kept.get(key) != entry:
            return  # A client has changed it since the scan.
        self._renewing.add(key)
        value, was_damaged = self._kept.value(entry), False
        if value is None:
            value, was_damaged = await self._found_again(entry), True
        renewal: Renewal = NotRenewed(RenewalFailure.DAMAGED)
        if value is not None:
            record = entry.record(value, self._node.own_id)
            renewal = await self._renewer.renew(record, self._policy.ttl(entry.ttl), near)
        if key not in self._renewing:
            return  # A client has changed it meanwhile: its entry stands.
        self._renewing.discard(key)
        entry, value = self._judged(entry, renewal, value if was_damaged else None)
        written: Deferred[bool] = Deferred()
        self._kept.put(entry, value, written.callback)
        # The next scan must see it.
        if not await written:
            self._paused_until = self._clock.seconds() + DISK_PAUSE

    async def _found_again(self, entry: KeptEntry) -> bytes | None:
        """Fetch a value that is damaged here from its holders."""
        found = await self._node.get(entry.key, entry.kind is Kind.CONTENT)
        return found.value if isinstance(found, Record) and found.digest == entry.digest else None

    def _judged(
        self, entry: KeptEntry, renewal: Renewal, value: bytes | None
    ) -> tuple[KeptEntry, bytes | None]:
        """Return the entry after a renewal, and the value if it must be written; count the renewal."""
        now, metrics = self._clock.seconds(), self.metrics
        if isinstance(renewal, Replaced):
            metrics.replaced += renewal.state is KeptState.REPLACED
            metrics.deleted += renewal.state is KeptState.DELETED
            return entry.stopped(renewal.state, now), None
        is_renewed = isinstance(renewal, Renewed)
        newest = renewal.record if isinstance(renewal, Renewed) else renewal.newest
        failure = RenewalFailure.NONE if isinstance(renewal, Renewed) else renewal.failure
        if newest is not None:
            followed = entry.followed(newest)
            if followed.digest == entry.digest:
                entry = followed
            elif self._fits(followed):
                entry, value = followed, newest.value
            else:
                failure = RenewalFailure.LIST_FULL
        if newest is not None and is_renewed:
            entry = entry.renewed(newest.expires_at, now, self._phase(entry.key))
            if not self._node.table.has_live_contact():
                entry = entry.due_soon(now)  # Only this node has it: others must get it when they are back.
        if not failure:
            metrics.renewed += 1
            return entry, value
        metrics.failed += 1
        metrics.failures[failure] += 1
        return entry.failed(failure, now), value
