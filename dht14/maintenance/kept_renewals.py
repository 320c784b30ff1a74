"""Renews the kept values of a node before they expire.

Runs every `keep_interval` (10 s with the default `min_ttl`) and scans the list; an empty one costs nothing. A
value is renewed when 0.4 to 0.6 of its life are over: those of one region at the same moment, so that they
share a lookup. At most RENEWALS_PER_SECOND, REGIONS_AT_ONCE regions side by side, the most urgent first.
"""

from collections.abc import Callable
from heapq import nlargest
from itertools import groupby

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP
from dht14.maintenance.kept_changes import KeptChanges
from dht14.maintenance.kept_report import KeptCensus, KeptReport
from dht14.maintenance.metrics import KeptMetrics
from dht14.maintenance.region import RegionLookups
from dht14.node.concurrency import run_limited
from dht14.node.node import Node
from dht14.node.policy import Policy
from dht14.node.renew import NotRenewed, RecordRenewer, Renewal, Renewed, Replaced
from dht14.records.kept import REGION_BITS, KeptEntry, KeptList, KeptState, RenewalFailure, phase_of
from dht14.records.record import Kind, Record
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


def keep_interval(min_ttl: float) -> float:
    """Return the seconds between two looks at the list: the shortest life is renewed in time."""
    return min(max(min_ttl / 6, 0.5), 15.0)


@define(eq=False)
class KeptRenewals:
    """The renewals of the values that one node keeps."""

    _node: Node
    _kept: KeptList
    _changes: KeptChanges
    _policy: Policy
    _clock: IReactorTime
    _is_joined: Callable[[], bool]
    """Whether the first try to join is over: before that nothing can be known of any key."""
    _metrics: KeptMetrics
    on_due: Callable[[], object] = field(default=lambda: None, init=False)
    """Called when a new value must be renewed at once."""
    _report: KeptReport = field(factory=KeptReport, init=False)
    _renewer: RecordRenewer = field(init=False)
    _bucket: TokenBucket = field(init=False)
    _damaged: set[bytes] = field(factory=set, init=False)
    """The marks of entries that cannot be opened."""
    _paused_until: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._renewer = self._node.renewer()
        self._bucket = TokenBucket(RENEWALS_PER_SECOND, RENEWALS_PER_SECOND, self._clock.seconds())

    def entry_written(self, entry: KeptEntry) -> None:
        """A client has put an entry on the list. It may have replaced a damaged one."""
        self._damaged.clear()
        if entry.due_at <= entry.changed_at:
            self.on_due()

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
            before = self._metrics.ended
            replaced, deleted = self._metrics.replaced, self._metrics.deleted
            jobs = map(self._renew_region, [list(group) for _, group in regions])
            await run_limited(jobs, REGIONS_AT_ONCE)
            self._report.stopped(self._metrics.replaced - replaced, self._metrics.deleted - deleted)
            if self._metrics.ended == before:
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
        census.show(self._metrics, self._kept.usage().size)
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
        if self._changes.is_client_changing(key) or self._kept.get(key) != entry:
            return  # A client has changed it since the scan.
        self._changes.renewal_began(key)
        value, fetched = self._kept.value(entry), None
        if value is None:
            value = fetched = await self._fetch_again(entry)
        renewal: Renewal = NotRenewed(RenewalFailure.DAMAGED)
        if value is not None:
            record = entry.record(value, self._node.own_id)
            renewal = await self._renewer.renew(record, self._policy.ttl(entry.ttl), near)
        if not self._changes.renewal_ended(key):
            return  # A client has changed it meanwhile: its entry stands.
        entry, changed_value = self._judge(entry, renewal, fetched)
        # The next scan must see it.
        if not await self._changes.renewed(entry, changed_value):
            self._paused_until = self._clock.seconds() + DISK_PAUSE

    async def _fetch_again(self, entry: KeptEntry) -> bytes | None:
        """Fetch a value that is damaged here from its holders."""
        found = await self._node.get(entry.key, entry.kind is Kind.CONTENT)
        return found.value if isinstance(found, Record) and found.digest == entry.digest else None

    def _judge(
        self, entry: KeptEntry, renewal: Renewal, value: bytes | None
    ) -> tuple[KeptEntry, bytes | None]:
        """Return the entry after a renewal, and the value if it must be written; count the renewal."""
        now, metrics = self._clock.seconds(), self._metrics
        if isinstance(renewal, Replaced):
            metrics.replaced += renewal.state is KeptState.REPLACED
            metrics.deleted += renewal.state is KeptState.DELETED
            return entry.stopped(renewal.state, now), None
        newest: Record | None
        if isinstance(renewal, Renewed):
            newest, failure = renewal.record, RenewalFailure.NONE
        else:
            newest, failure = renewal.newest, renewal.failure
        if newest is not None:
            followed = entry.followed(newest)
            if followed.digest == entry.digest:
                entry = followed
            elif self._changes.fits(followed):
                entry, value = followed, newest.value
            else:
                failure = RenewalFailure.LIST_FULL
        if isinstance(renewal, Renewed):
            entry = entry.renewed(renewal.record.expires_at, now, phase_of(entry.key, self._node.own_id))
            if not self._node.table.has_live_contact():
                entry = entry.due_soon(now)  # Only this node has it: others must get it when they are back.
        if not failure:
            metrics.renewed += 1
            return entry, value
        metrics.failed += 1
        metrics.failures[failure] += 1
        return entry.failed(failure, now), value
