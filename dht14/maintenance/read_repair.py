"""Read repair: after a GET, offers the record to those of the nearest nodes that lack it, and leaves one
cached copy on the way.

Runs after each GET that found a record, in the background: at most READ_REPAIRS_AT_ONCE copies at once, and
at most one copy of a key to the same node in READ_REPAIR_SPACING.
"""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.bounded import ExpiringSet
from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_INLINE_VALUE
from dht14.maintenance.replicator import Offered, Replicator
from dht14.node.get_replies import GetReplies
from dht14.node.lookup_run import AnyLookup
from dht14.node.ports import Rpc
from dht14.records.record import Kind, Record
from dht14.wire.messages import Reply, Store

READ_REPAIRS_AT_ONCE = 32
"""Copies under way after GETs. Further ones are left to the next GET, or to republish."""

READ_REPAIR_SPACING, MAX_READ_REPAIRS = 60.0, 4096
"""Seconds between two copies of one key to one node; pairs of key and node remembered."""


@define(eq=False)
class ReadRepair:
    """Repairs after the GETs of one node."""

    log = Logger()

    _neighbourhood: Neighbourhood
    _rpc: Rpc
    _replicator: Replicator
    _clock: IReactorTime
    _under_way: int = field(default=0, init=False)
    _recent: ExpiringSet[tuple[int, int]] = field(
        factory=lambda: ExpiringSet(READ_REPAIR_SPACING, MAX_READ_REPAIRS), init=False
    )
    """Keys and the ids of the nodes that got a copy."""

    def got(self, lookup: AnyLookup, winner: Record, replies: GetReplies) -> None:
        """A GET has ended with this record. Nothing waits for the repair.

        Only the nearest nodes get a copy: later writers would not reach one elsewhere.
        """
        if winner.is_cached:
            return  # A copy of a cached copy would live no longer and count for nothing.
        if outdated := replies.outdated(winner):
            self._give(lookup, winner, outdated, replies.without_record())
        if self._neighbourhood.is_near(winner.key, winner.replication):
            self._replicator.store_copy(winner)

    def _give(
        self, lookup: AnyLookup, winner: Record, outdated: list[Contact], without_record: list[Contact]
    ) -> None:
        holders = {contact.node_id for contact in lookup.shortlist()[: winner.replication]}
        for contact in outdated:
            if contact.node_id in holders:
                self._begin(winner, contact, self._repair)
        if winner.kind is Kind.CONTENT and len(winner.value) <= MAX_INLINE_VALUE:
            passed = [contact for contact in without_record if contact.node_id not in holders]
            for contact in sorted(passed, key=lambda contact: contact.node_id ^ winner.key)[:1]:
                self._begin(winner, contact, self._cache)

    def _begin(
        self, record: Record, contact: Contact, give: "Callable[[Record, Contact], Deferred[Any]]"
    ) -> None:
        given = record.key, contact.node_id
        now = self._clock.seconds()
        self._recent.expire(now)
        if self._under_way >= READ_REPAIRS_AT_ONCE or given in self._recent or record.remaining_ms(now) < 1:
            return
        self._recent.add(given, now)
        self._under_way += 1
        give(record, contact).addErrback(self._failed).addCallback(self._ended)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CallFailed):
            self.log.failure(
                "Read repair of a value failed; this is a bug.", failure, event="read_repair.bug"
            )

    def _ended(self, _: object) -> None:
        self._under_way -= 1

    def _repair(self, record: Record, contact: Contact) -> "Deferred[Offered]":
        return Deferred.fromCoroutine(self._replicator.offer(record, [contact]))

    def _cache(self, record: Record, contact: Contact) -> "Deferred[Reply]":
        """Cache content at the nearest node that was asked and does not hold it (paper, section 2.3).

        Only content: it cannot become stale. A cached copy of another record, unknown to its writers, would
        be read for as long as it lives.
        """
        remaining = record.remaining_ms(self._clock.seconds())
        return self._rpc.ask(
            contact, Store(record.key, record.version, remaining, 0, 0, record.value, copy=True)
        )
