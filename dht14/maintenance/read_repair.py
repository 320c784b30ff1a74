"""What a get has found goes to those who should have had it, and to one on the way that need not."""

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
from dht14.maintenance.replicator import Replicator
from dht14.node.get import GetReplies
from dht14.node.lookup_run import AnyLookup
from dht14.node.ports import Rpc
from dht14.records.record import Kind, Record
from dht14.wire.messages import Reply, Store

REPAIRS_AT_ONCE = 32
"""Copies under way on behalf of gets; what would be more is left to the next get, or to republish."""

SPACING, REMEMBERED = 60.0, 4096
"""Seconds between two copies of the same key to the same holder, and how many such are remembered."""


@define(eq=False)
class ReadRepair:
    """Runs behind the gets of one node."""

    log = Logger()

    _neighbourhood: Neighbourhood
    _rpc: Rpc
    _copies: Replicator
    _clock: IReactorTime
    _under_way: int = field(default=0, init=False)
    _lately: ExpiringSet[tuple[int, int]] = field(
        factory=lambda: ExpiringSet(SPACING, REMEMBERED), init=False
    )
    """Key and holder."""

    def got(self, lookup: AnyLookup, winner: Record, replies: GetReplies) -> None:
        """A get has ended with this record. Nobody waits for what is done here.

        Only the nearest get a copy: one that strays about would be missed by later writers.
        """
        if winner.is_cached:
            return  # It was a cached copy: what is made of it would live no longer, and count for nothing.
        holders = {contact.node_id for contact in lookup.shortlist()[: winner.replication]}
        for contact in replies.outdated(winner):
            if contact.node_id in holders:
                self._begin(winner, contact, self._repair)
        if self._neighbourhood.is_near(winner.key, winner.replication):
            self._copies.take(winner)
        if winner.kind is Kind.CONTENT and len(winner.value) <= MAX_INLINE_VALUE:
            passed = [contact for contact in replies.without_record() if contact.node_id not in holders]
            for contact in sorted(passed, key=lambda contact: contact.node_id ^ winner.key)[:1]:
                self._begin(winner, contact, self._cache)

    def _begin(
        self, record: Record, contact: Contact, give: "Callable[[Record, Contact], Deferred[Any]]"
    ) -> None:
        given = record.key, contact.node_id
        now = self._clock.seconds()
        self._lately.expire(now)
        if self._under_way >= REPAIRS_AT_ONCE or given in self._lately or record.remaining_ms(now) < 1:
            return
        self._lately.add(given, now)
        self._under_way += 1
        give(record, contact).addErrback(self._failed).addCallback(self._ended)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CallFailed):
            self.log.failure("A value was not repaired; this is a bug.", failure)

    def _ended(self, _: object) -> None:
        self._under_way -= 1

    def _repair(self, record: Record, contact: Contact) -> "Deferred[int]":
        return Deferred.fromCoroutine(self._copies.offer(record, [contact]))

    def _cache(self, record: Record, contact: Contact) -> "Deferred[Reply]":
        """Leave a copy of content at the nearest node that was asked and does not hold it (paper, section 2.3).

        Of content alone: it cannot become stale. A copy of anything else, of which its writers know nothing,
        would be read for as long as it lives.
        """
        remaining = record.remaining_ms(self._clock.seconds())
        return self._rpc.ask(
            contact, Store(record.key, record.version, remaining, 0, 0, record.value, copy=True)
        )
