"""Brings copies of what this node holds to others that shall hold it: what all upkeep of records rests on."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from dht14.bounded import ExpiringSet
from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.fetch import Fetch, ValueSource
from dht14.node.network_time import NetworkTime
from dht14.node.ports import Bulk, Rpc
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Kind, Record
from dht14.records.store import LocalStore, Verdict
from dht14.security.subnets import counted_subnet
from dht14.wire.messages import (
    FindValue,
    LargeValue,
    Outranked,
    Ping,
    Refused,
    Reply,
    Stored,
    Value,
    fingerprint,
)

Deliver = Callable[[Contact, Record, int], "Deferred[Reply]"]
"""Offers a contact a copy of a record, and sends the value if it is wanted. Takes the fingerprint of the
neighbourhood of the key; fires with `Stored`, `Outranked` or `Refused`, or fails with `CallFailed`."""

REFUSAL_SECONDS = 600.0
MAX_REFUSERS = 256
"""For how long nobody counts on a contact that has refused a copy: a bootstrap node, or one that is full."""

PATIENCE, PATIENCE_LARGE = 1.0, 4.0
"""Seconds after which a contact is not waited for any longer; somebody else stands in for it."""

NEWS_AT_ONCE = 8
"""Contacts that others named and that are being pinged at the same time."""


@define(eq=False)
class Replicator:
    """Copies to others, and what they know better."""

    _table: RoutingTable
    _store: LocalStore
    _rpc: Rpc
    _deliver: Deliver
    _bulk: Bulk
    _clock: IReactorTime
    _time: NetworkTime
    counters: Counter[str] = field(factory=Counter, init=False)
    """Copies that were offered, by what came of them."""
    _refusers: ExpiringSet[int] = field(
        factory=lambda: ExpiringSet(REFUSAL_SECONDS, MAX_REFUSERS), init=False
    )
    _pinged: set[int] = field(factory=set, init=False)

    def candidates(self, key: int, count: int = K) -> list[Contact]:
        """The contacts nearest to a key that are alive and take copies, as far as is known."""
        self._refusers.expire(self._clock.seconds())
        known = self._table.holders(key, 2 * count)
        return [contact for contact in known if self.takes_copies(contact.node_id)][:count]

    def takes_copies(self, node_id: int) -> bool:
        """Whether this contact holds values, as far as is known, and has not refused a copy lately."""
        return node_id not in self._refusers and self._table.serves_values(node_id)

    async def spread(self, record: Record, candidates: Iterable[Contact], needed: int) -> int:
        """Offer the record to the candidates, in their order, until so many have it; how many do."""
        # Who has turned out dead meanwhile, when another record was offered, is not waited for again.
        waiting = (contact for contact in candidates if not self._table.is_suspect(contact.node_id))
        held = 0
        while batch := list(islice(waiting, needed - held)):
            held += await self.offer(record, batch)
        return held

    async def offer(self, record: Record, contacts: Sequence[Contact]) -> int:
        """Offer the record to all these contacts; how many of them have it now, or a better one."""
        neighbours = self._fingerprint(record)
        asked = [self._ask(contact, record, neighbours) for contact in contacts]
        replies = await gatherResults(asked, consumeErrors=True)
        ahead: Contact | None = None
        newest = -1
        for contact, reply in zip(contacts, replies, strict=True):
            if isinstance(reply, Refused):
                self._refusers.add(contact.node_id, self._clock.seconds())
            elif isinstance(reply, Outranked) and reply.version > newest:
                ahead, newest = contact, reply.version
        if ahead is not None:
            await self._catch_up(record.key, ahead)
        return sum(isinstance(reply, Stored | Outranked) for reply in replies)

    def _ask(self, contact: Contact, record: Record, neighbours: int) -> "Deferred[Reply | None]":
        patience = PATIENCE if len(record.value) <= MAX_INLINE_VALUE else PATIENCE_LARGE
        asked = self._deliver(contact, record, neighbours).addTimeout(patience, self._clock)
        return asked.addCallbacks(self._answered, self._failed)

    def _answered(self, reply: Reply) -> Reply:
        self.counters[type(reply).__name__.lower()] += 1
        if isinstance(reply, Stored | Outranked | Refused):
            self._meet(reply.nearer)
        return reply

    def _failed(self, failure: Failure) -> None:
        failure.trap(CallFailed, TimeoutError)
        self.counters["unanswered"] += 1

    def _fingerprint(self, record: Record) -> int:
        known = self._table.holders(record.key, record.replication)
        ids = sorted([self._table.own_id, *(contact.node_id for contact in known)], key=record.key.__xor__)
        return fingerprint(ids[: record.replication])

    def _meet(self, named: Iterable[Contact]) -> None:
        """Neighbours of a key whom this node does not know: those that answer enter the table."""
        for contact in named:
            node_id = contact.node_id
            if len(self._pinged) >= NEWS_AT_ONCE:
                return
            if node_id not in self._table and node_id not in self._pinged and self._table.wants(contact):
                self._pinged.add(node_id)
                self._rpc.ask(contact, Ping()).addBoth(self._met, node_id)

    def _met(self, _: object, node_id: int) -> None:
        self._pinged.discard(node_id)

    async def _catch_up(self, key: int, holder: Contact) -> None:
        """Hold what another holder has, if it is better than what is held here."""
        try:
            reply = await self._rpc.ask(holder, FindValue(key))
        except CallFailed:
            return
        now = self._clock.seconds()
        record: Record | None = None
        if isinstance(reply, Value):
            record = Record(
                key=key,
                value=reply.value,
                version=reply.version,
                expires_at=now + reply.ttl_ms / 1000,
                replication=reply.replication,
            )
        elif isinstance(reply, LargeValue):
            record = await self._fetched(key, holder, reply, now)
        if record is not None:
            subnet = counted_subnet(holder.address[0], self._table.subnet_of)
            self.take(evolve(record, writer=holder.node_id, writer_subnet=subnet))

    def _fetched(self, key: int, holder: Contact, told: LargeValue, now: float) -> "Deferred[Record | None]":
        expires_at = now + told.ttl_ms / 1000
        claim = AdvertisedRecord(
            key=key,
            version=told.version,
            expires_at=expires_at,
            replication=told.replication,
            owned=told.owned,
            length=told.length,
            digest=told.digest,
        )
        if not claim.is_possible:
            return succeed(None)
        claimers = iter([ValueSource(holder, told.ticket)])
        return Fetch(claim, claimers, self._bulk, self._clock).run(PATIENCE_LARGE)

    def take(self, record: Record) -> None:
        """Hold a record that others hold, unless a better one is held."""
        now = self._clock.seconds()
        is_believable = record.kind is not Kind.OPEN or self._time.may_be_held(record.version)
        if not record.is_cached and is_believable and record.is_authentic:
            self._store.offer(record, now, _ignore)


def _ignore(verdict: Verdict) -> None:
    """A copy that is not taken is another holder's, or comes again."""
