"""Replicator: offers copies of records to the nodes that should hold them.

Used by read repair, repair, republish and hand-over; it has no pass of its own. A copy costs one OFFER for a
contact that has the record, and a STORE or a bulk transfer for one that has not.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from dht14.bounded import BoundedDict, ExpiringSet
from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import CLOCK_TIMEOUT, GROUP, MAX_INLINE_VALUE, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.inventories import Inventories
from dht14.maintenance.metrics import CopyMetrics
from dht14.node.fetch import Fetch, ValueSource, advertised_in, record_in
from dht14.node.get import Comparison
from dht14.node.lookups import ping_all
from dht14.node.network_clock import NetworkClock
from dht14.node.ports import Bulk, Rpc
from dht14.node.record_sender import copy_of, offer_of
from dht14.records.record import Kind, Record
from dht14.records.store import LocalStore, Refusal, Verdict
from dht14.security.subnets import counted_subnet
from dht14.wire.messages import (
    FindValue,
    Lapsed,
    LargeValue,
    Outranked,
    Ping,
    Refused,
    Reply,
    Stored,
    Value,
    Wanted,
    fingerprint,
)

SendCopy = Callable[[Contact, Record, int], "Deferred[Reply]"]
"""Offers a copy of a record to a contact, and sends the value if the contact wants it. Takes the fingerprint
of the key's neighbourhood; fires with `Stored`, `Outranked` or `Refused`, or fails with `CallFailed`."""

OF_THE_RECORD = frozenset({Refusal.VERSION, Refusal.INVALID, Refusal.NOT_NEAR})
"""Refusals that say nothing of other records."""

REFUSAL_MEMORY = 600.0
MAX_REFUSERS = 256
"""Seconds for which a contact that refused a copy gets no other one: it is a bootstrap node, or full. And
those for which nothing is looked up because a contact says that a record is over, after others have
contradicted it: each time costs as much as a get."""

COPY_TIMEOUT, LARGE_COPY_TIMEOUT = 1.0, 4.0
"""Seconds to wait for a contact, with a small value and with a large one; then the next candidate replaces
it."""

PINGS_AT_ONCE = 8
"""Unknown contacts, named by others, that are pinged at the same time."""


@frozen
class Offered:
    """What became of an offer to several contacts."""

    held: int
    """How many have the record now, or a better one."""
    unheard: Sequence[Contact]
    """Those that have not answered in time."""
    not_near: Sequence[Contact]
    """Those that know too many nodes nearer to the key. Some of these may be dead, and they find out."""
    is_replaced: bool
    """Whether one of them had a greater record, which is here now, or the record turned out to be over."""


@define(eq=False)
class Replicator:
    """Offers copies to other nodes, and learns from their replies: newer records, unknown neighbours."""

    _table: RoutingTable
    _store: LocalStore
    _rpc: Rpc
    _send_copy: SendCopy
    _bulk: Bulk
    _clock: IReactorTime
    _time: NetworkClock
    compare: "Callable[[Record], Deferred[Comparison]]" = field(init=False)
    """As `Node.compare`."""
    metrics: CopyMetrics = field(factory=CopyMetrics, init=False)
    inventories: Inventories = field(init=False)
    _refused_at: BoundedDict[int, float] = field(factory=lambda: BoundedDict(MAX_REFUSERS), init=False)
    """When contacts last refused a copy, by id."""
    _contradicted: ExpiringSet[int] = field(
        factory=lambda: ExpiringSet(REFUSAL_MEMORY, MAX_REFUSERS), init=False
    )
    """The ids of contacts that said of a record that it is over, where others did not remember that."""
    _pinged: set[int] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.inventories = Inventories(self._rpc, self._clock)

    def replica_candidates(self, key: int, count: int = K) -> list[Contact]:
        """Return the `count` contacts nearest to a key that are alive and accept copies, as far as is
        known."""
        known = self._table.holders(key, 2 * count)
        return [contact for contact in known if self.accepts_copies(contact.node_id)][:count]

    def accepts_copies(self, node_id: int) -> bool:
        """Whether this contact holds values, as far as is known, and has not refused a copy recently."""
        refused_at = self._refused_at.get(node_id)
        if refused_at is not None and self._clock.seconds() - refused_at < REFUSAL_MEMORY:
            return False
        return self._table.serves_values(node_id)

    def returned(self, node_id: int) -> None:
        """A contact is back from an absence, and asks for copies: what it refused before does not count. It
        may have been stopping then."""
        self._refused_at.pop(node_id, None)

    async def replicate(self, record: Record, replica_candidates: Iterable[Contact], needed: int) -> int:
        """Offer the record to the candidates, in their order, until `needed` of them have it, or it is found
        to be replaced. Return how many do."""
        # A contact that was found dead meanwhile, with another record, is skipped.
        waiting = (contact for contact in replica_candidates if not self._table.is_suspect(contact.node_id))
        held, is_replaced = 0, False
        while not is_replaced and (batch := list(islice(waiting, max(needed - held, 0)))):
            offered = await self.offer(record, batch)
            held, is_replaced = held + offered.held, offered.is_replaced
        return held

    async def republish(self, record: Record, replica_candidates: Sequence[Contact], needed: int) -> None:
        """As `replicate`. But before one that lacks the record gets it, all of the group are asked: it may
        have been replaced, and this has expired. If enough remember that, give the record up."""
        replies = dict[Contact, Reply | None]()
        if record.kind is not Kind.CONTENT:
            replies = await self._ask_for(record, replica_candidates[:needed])
            if any(isinstance(reply, Wanted) for reply in replies.values()):
                replies |= await self._ask_for(record, replica_candidates[needed:GROUP])
            ahead = next((c for c, reply in replies.items() if isinstance(reply, Outranked)), None)
            if ahead is not None and await self._fetch_newer(record, ahead):
                return
        holding = {contact for contact, reply in replies.items() if isinstance(reply, Stored)}
        others = (contact for contact in replica_candidates if contact not in holding)
        await self.replicate(record, others, needed - len(holding))

    async def _ask_for(self, record: Record, contacts: Sequence[Contact]) -> "dict[Contact, Reply | None]":
        """Offer the record to these contacts, and send its value to none. Return what they answered."""
        offer = offer_of(copy_of(record, self._fingerprint(record), self._clock.seconds()))
        asked = [self._in_time(self._rpc.ask(contact, offer), COPY_TIMEOUT) for contact in contacts]
        return dict(zip(contacts, await gatherResults(asked, consumeErrors=True), strict=True))

    async def offer(self, record: Record, contacts: Sequence[Contact]) -> Offered:
        """Offer the record to all these contacts."""
        record = self._dated(record)
        neighbours = self._fingerprint(record)
        asked = [self._ask(contact, record, neighbours) for contact in contacts]
        replies = await gatherResults(asked, consumeErrors=True)
        if any(isinstance(reply, Refused) and reply.reason is Refusal.VERSION for reply in replies):
            if not self._time.may_overrule(len(self._table)):
                await ping_all(self._rpc, contacts, self._clock, CLOCK_TIMEOUT)  # Each PONG tells the time.
            if self._time.dated(record, len(self._table)) is not record:
                return await self.offer(record, contacts)
        unheard, not_near = list[Contact](), list[Contact]()
        ahead: Contact | None = None
        newest = -1
        for contact, reply in zip(contacts, replies, strict=True):
            if reply is None:
                unheard.append(contact)
            elif isinstance(reply, Refused):
                if reply.reason is Refusal.NOT_NEAR:
                    not_near.append(contact)
                if reply.reason not in OF_THE_RECORD:
                    self._refused_at.renew(contact.node_id, self._clock.seconds())
            elif isinstance(reply, Outranked) and reply.version > newest:
                ahead, newest = contact, reply.version
        is_replaced = ahead is not None and await self._fetch_newer(record, ahead)
        held = sum(isinstance(reply, Stored | Outranked) for reply in replies)
        return Offered(held, unheard, not_near, is_replaced)

    async def offer_to(self, contact: Contact, record: Record) -> bool:
        """Offer the record to one contact. Return whether the contact has answered, whatever it said."""
        return await self._ask(contact, record, self._fingerprint(record)) is not None

    def _dated(self, record: Record) -> Record:
        """Return an open record with a version that others take, and hold it so. Its version may have been
        made when this node did not know the time."""
        dated = self._time.dated(record, len(self._table))
        if dated is not record:
            self._store.offer(dated, self._clock.seconds(), _ignore)
        return dated

    def _ask(self, contact: Contact, record: Record, neighbours: int) -> "Deferred[Reply | None]":
        timeout = COPY_TIMEOUT if len(record.value) <= MAX_INLINE_VALUE else LARGE_COPY_TIMEOUT
        return self._in_time(self._send_copy(contact, record, neighbours), timeout)

    def _in_time(self, asked: "Deferred[Reply]", timeout: float) -> "Deferred[Reply | None]":
        return asked.addTimeout(timeout, self._clock).addCallbacks(self._answered, self._failed)

    def _answered(self, reply: Reply) -> Reply:
        if isinstance(reply, Stored):
            self.metrics.stored += 1
        elif isinstance(reply, Outranked):
            self.metrics.outranked += 1
        elif isinstance(reply, Refused):
            self.metrics.refused += 1
        if isinstance(reply, Stored | Outranked | Refused):
            self._ping_unknown(reply.nearer)
        return reply

    def _failed(self, failure: Failure) -> None:
        failure.trap(CallFailed, TimeoutError)
        self.metrics.unanswered += 1

    def _fingerprint(self, record: Record) -> int:
        known = self._table.holders(record.key, record.replication)
        ids = sorted([self._table.own_id, *(contact.node_id for contact in known)], key=record.key.__xor__)
        return fingerprint(ids[: record.replication])

    def _ping_unknown(self, named: Iterable[Contact]) -> None:
        """PING neighbours of a key that this node does not know; those that answer enter the table."""
        for contact in named:
            node_id = contact.node_id
            if len(self._pinged) >= PINGS_AT_ONCE:
                return
            if node_id not in self._table and node_id not in self._pinged and self._table.wants(contact):
                self._pinged.add(node_id)
                self._rpc.ask(contact, Ping()).addBoth(self._met, node_id)

    def _met(self, _: object, node_id: int) -> None:
        self._pinged.discard(node_id)

    async def _fetch_newer(self, offered: Record, holder: Contact) -> bool:
        """Fetch the record of another holder, and store it if it is better than this node's. Return whether
        the one offered is replaced: by this one, or by one that has expired."""
        key, asked_at = offered.key, self._clock.seconds()
        try:
            reply = await self._rpc.ask(holder, FindValue(key))
        except CallFailed:
            return False
        if isinstance(reply, Lapsed) and (reply.kind, reply.version) > offered.rank[:2]:
            return await self._give_up_replaced(offered, holder)
        record: Record | None = None
        if isinstance(reply, Value):
            record = record_in(reply, key, asked_at)
        elif isinstance(reply, LargeValue):
            record = await self._fetch(key, holder, reply, asked_at)
        if record is None:
            return False
        subnet = counted_subnet(holder.address[0], self._table.subnet_of)
        is_believed = self.store_copy(evolve(record, writer=holder.node_id, writer_subnet=subnet))
        return is_believed and record.rank > offered.rank

    async def _give_up_replaced(self, record: Record, witness: Contact) -> bool:
        """Give up a record if enough others remember, as this one does, that it was replaced, and that this
        has expired. Else this node would bring it to those who take their places."""
        self._contradicted.expire(self._clock.seconds())
        if witness.node_id in self._contradicted:
            return False
        compared = await self.compare(record)
        now = self._clock.seconds()
        is_over = compared.is_over and compared.floor > record.rank[:2]
        if is_over:
            self._store.lapse(record, compared.floor, now)
        else:
            self._contradicted.add(witness.node_id, now)
        return is_over

    def _fetch(
        self, key: int, holder: Contact, reply: LargeValue, asked_at: float
    ) -> "Deferred[Record | None]":
        advertised = advertised_in(reply, key, asked_at)
        if not advertised.is_possible:
            return succeed(None)
        sources = iter([ValueSource(holder, reply.ticket)])
        return Fetch(advertised, sources, self._bulk, self._clock).run(LARGE_COPY_TIMEOUT)

    def store_copy(self, record: Record) -> bool:
        """Store a record that other nodes hold, unless it, or a better one, is here. Return whether it is
        believed."""
        now = self._clock.seconds()
        held = self._store.get(record.key, now)
        if held is not None and held.rank == record.rank and not record.outlasts(held):
            return True
        is_possible = record.kind is not Kind.OPEN or self._time.may_be_held(record.version)
        if record.is_cached or not is_possible or not record.is_authentic:
            return False
        self._store.offer(record, now, _ignore)
        return True


def _ignore(verdict: Verdict) -> None:
    """The other holders have a copy that was refused here, and may offer it again."""
