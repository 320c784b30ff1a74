"""Republish (paper, section 2.5): at times each record is offered to all who shall hold it.

One of the holders does it for all: see `node.republish_times`.
"""

import random
from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import shared_prefix
from dht14.kademlia.parameters import K
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.node.concurrency import run_limited
from dht14.node.node import Node
from dht14.node.republish_times import JITTER, MAX_POSTPONED, RepublishTimes
from dht14.records.record import Record
from dht14.records.store import LocalStore

REPUBLISH_LOOK = 15.0
"""Seconds between two looks at whether it is time."""

AT_ONCE = 8
"""Records that are seen to at the same time."""

LAST_SECONDS = 30.0
"""A record that expires so soon is not worth a copy."""


@frozen
class Region:
    """What a walk has found: the nodes nearest to a target."""

    target: int
    contacts: tuple[Contact, ...]

    def covers(self, key: int, count: int) -> bool:
        """Whether the `count` nodes nearest to this key are among them.

        Whoever shares more bits with the target than the last of them was found.
        """
        if len(self.contacts) < K:
            return True
        depth = shared_prefix(self.target, self.contacts[-1].node_id) + 1
        inside = sum(shared_prefix(self.target, contact.node_id) >= depth for contact in self.contacts)
        return shared_prefix(self.target, key) >= depth and inside >= count


@define(eq=False)
class Republish:
    """Walks through the store once in each interval."""

    log = Logger()

    _node: Node
    _store: LocalStore
    _copies: Replicator
    _republish_times: RepublishTimes
    _clock: IReactorTime
    _rng: random.Random
    _interval: Callable[[], float]
    """Seconds between two looks at a record, as the network is now."""
    _last: float = field(init=False)
    _factor: float = field(init=False)
    _region: Region | None = field(default=None, init=False)
    """The last one that was walked to: keys that follow each other in the store share it, as a rule."""

    def __attrs_post_init__(self) -> None:
        self._last = self._clock.seconds()
        self._roll()

    def _roll(self) -> None:
        self._factor = self._rng.uniform(1 - JITTER, 1 + JITTER)

    @property
    def _table(self) -> RoutingTable:
        return self._node.table

    async def one_pass(self) -> None:
        """See to all records that are due, if it is time."""
        began, interval = self._clock.seconds(), self._interval()
        if began - self._last < interval * self._factor or self._table.is_cut_off:
            return
        self._last = began
        self._roll()
        republished = 0
        async for records in scan(self._store, self._clock):
            now = self._clock.seconds()
            due = [record for record in records if self._is_due(record, now, interval)]
            candidates = [await self._candidates(record) for record in due]
            await run_limited(map(self._see_to, due, candidates), AT_ONCE)
            republished += len(due)
        self._republish_times.forget(began - MAX_POSTPONED * interval)
        self.log.debug(
            "Republished {records} records in {seconds:.1f} s; the interval is {interval:.0f} s.",
            records=republished,
            seconds=self._clock.seconds() - began,
            interval=interval,
        )

    def _is_due(self, record: Record, now: float, interval: float) -> bool:
        return (
            not record.is_cached
            and record.expires_at - now > LAST_SECONDS
            and self._republish_times.is_due(record.key, now, interval)
        )

    async def _candidates(self, record: Record) -> list[Contact]:
        """Who may have to hold a record, the nearest first."""
        if self._node.neighbourhood.knows_region(record.key, record.replication):
            return self._copies.candidates(record.key)
        if self._region is None or not self._region.covers(record.key, record.replication):
            lookup = await self._node.find_nodes(record.key)
            self._region = Region(record.key, tuple(lookup.nearest()))
        return sorted(self._region.contacts, key=lambda contact: contact.node_id ^ record.key)

    async def _see_to(self, record: Record, candidates: list[Contact]) -> None:
        """Offer the record to its other holders. A node that is none any more asks the nearest one alone."""
        is_near = self._node.neighbourhood.is_near(record.key, record.replication)
        await self._copies.spread(record, candidates, record.replication - 1 if is_near else 1)
        self._republish_times.republished(record.key, self._clock.seconds())
