"""Republish (paper, section 2.5): offers each record to all its holders from time to time.

Checks every REPUBLISH_LOOK (15 s) whether the interval is over; it follows the lifetime of contacts. A pass
then scans the store once and costs one lookup for each region that the table does not know. One holder does
it for all of a record's holders: see `node.republish_times`.
"""

import random
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.kademlia.contact import Contact
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.region import RegionLookups
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.node.concurrency import run_limited
from dht14.node.node import Node
from dht14.node.republish_times import JITTER, MAX_POSTPONED, RepublishTimes
from dht14.records.record import Record
from dht14.records.store import LocalStore

REPUBLISH_LOOK = 15.0
"""Seconds between two checks whether the interval is over."""

REPUBLISHES_AT_ONCE = 8
"""Records that are offered at the same time."""

MIN_REMAINING = 30.0
"""Seconds; a record that expires sooner is not offered."""


@define(eq=False)
class Republish:
    """Scans the store once in each interval."""

    log = Logger()

    _node: Node
    _store: LocalStore
    _replicator: Replicator
    _republish_times: RepublishTimes
    _clock: IReactorTime
    _rng: random.Random
    _interval: Callable[[], float]
    """Seconds between two offers of a record, in the present network."""
    _last: float = field(init=False)
    _factor: float = field(init=False)
    _region_lookups: RegionLookups = field(init=False)
    """Adjacent keys of the store usually share a lookup."""

    def __attrs_post_init__(self) -> None:
        self._last = self._clock.seconds()
        self._region_lookups = RegionLookups(self._node)
        self._draw_factor()

    def _draw_factor(self) -> None:
        self._factor = self._rng.uniform(1 - JITTER, 1 + JITTER)

    @property
    def _table(self) -> RoutingTable:
        return self._node.table

    async def one_pass(self) -> None:
        """Republish all records whose time has come, if the interval is over."""
        began, interval = self._clock.seconds(), self._interval()
        if began - self._last < interval * self._factor or self._table.is_cut_off:
            return
        self._last = began
        self._draw_factor()
        republished = 0
        async for page in scan(self._store, self._clock):
            now = self._clock.seconds()
            due = [record for record in page.records if self._is_due(record, now, interval)]
            candidates = [await self._replica_candidates(record) for record in due]
            await run_limited(map(self._republish, due, candidates), REPUBLISHES_AT_ONCE)
            republished += len(due)
        self._republish_times.forget(began - MAX_POSTPONED * interval)
        self.log.debug(
            "Republished in {seconds:.1f} s; records: {records}; the interval is {interval:.0f} s.",
            event="republish.ended",
            records=republished,
            seconds=self._clock.seconds() - began,
            interval=interval,
        )

    def _is_due(self, record: Record, now: float, interval: float) -> bool:
        return (
            not record.is_cached
            and record.expires_at - now > MIN_REMAINING
            and self._republish_times.is_due(record.key, now, interval)
        )

    async def _replica_candidates(self, record: Record) -> list[Contact]:
        """Return the possible holders of a record, the nearest first."""
        near = await self._region_lookups.contacts_near(record.key, record.replication)
        if near is None:
            return self._replicator.replica_candidates(record.key)
        return sorted(near, key=lambda contact: contact.node_id ^ record.key)

    async def _republish(self, record: Record, candidates: list[Contact]) -> None:
        """Offer the record to its other holders. A node that is not a holder any more offers it to the
        nearest."""
        is_near = self._node.neighbourhood.is_near(record.key, record.replication)
        await self._replicator.republish(record, candidates, record.replication - 1 if is_near else 1)
        self._republish_times.republished(record.key, self._clock.seconds())
