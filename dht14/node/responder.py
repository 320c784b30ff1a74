"""Answers the requests of other nodes, each at once and without asking anybody."""

from collections.abc import Callable
from functools import partial

from attrs import define, field, frozen

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE, REPLICATION, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.caching import cache_lifetime
from dht14.node.diary import Diary
from dht14.node.errands import Download, Errand, Upload
from dht14.security.identity import public_key_of
from dht14.security.subnet import counted_subnet
from dht14.security.tickets import Tickets
from dht14.storage.record import Kind, Record, claimed_rank
from dht14.storage.store import Outcome, RecordStore, Verdict, in_the_way
from dht14.wire.messages import (
    NO_TICKET,
    Announce,
    FindNode,
    FindValue,
    LargeValue,
    Nodes,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Request,
    Store,
    Stored,
    Value,
    Wanted,
    fingerprint,
)

Respond = Callable[[Reply], None]

PONG = Pong()

ANSWERS = 256
"""Targets whose nearest contacts are remembered."""

STRAY = 2
"""A STORE is refused where so many times as many nodes as shall hold the record are nearer to its key, and as
many as a read asks: the writer is mistaken about the neighbourhood. Not one time: others stand in for the
nearest when these die, of which we may not know yet."""

EXPIRY_SLACK_MS = 5_000
"""A copy that lives longer by less than this is the same one, seen through the delays of the network."""


@frozen(eq=False)
class _Answer:
    """One contact more than are named, since an asker is not told of itself."""

    known: list[Contact]
    ids: frozenset[int]
    nodes: Nodes

    @classmethod
    def of(cls, known: list[Contact]) -> "_Answer":
        return cls(known, frozenset(contact.node_id for contact in known), Nodes(tuple(known[:K])))

    def without(self, node_id: int) -> Nodes:
        return Nodes(tuple([contact for contact in self.known if contact.node_id != node_id]))


@define(eq=False)
class Responder:
    """What this node tells others.

    A node without a store holds no values: a bootstrap node. It refuses every STORE.
    """

    _table: RoutingTable
    _store: RecordStore | None
    _max_ttl: float
    _tickets: Tickets[Errand]
    _diary: Diary = field(factory=Diary)
    """Where it is noted what others have brought."""
    _stores: bool = field(default=True, init=False)
    _answers: dict[int, _Answer] = field(factory=dict, init=False)
    """To requests for nodes, by target, as long as the table stays as it is."""
    _revision: int = field(default=0, init=False)
    """Of the table that these were made from."""

    def store_no_more(self) -> None:
        """This node is about to leave: it refuses what others would have to fetch again."""
        self._stores = False

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Answer one request of `sender`, by calling `respond` once, now or when the store is done."""
        if isinstance(request, FindNode):
            respond(self._nodes(request.target, sender))
        elif isinstance(request, FindValue):
            respond(self._value(request.key, sender, now) or self._nodes(request.key, sender))
        elif isinstance(request, (Ping, Announce)):
            respond(PONG)
        elif isinstance(request, Store):
            self._hold(self._record(request, request.value, sender, now), request, sender, now, respond)
        elif isinstance(request, Offer):
            respond(self._weigh(request, sender, now))

    def _value(self, key: int, asker: Contact, now: float) -> Value | LargeValue | None:
        record = self._store.get(key, now) if self._store else None
        if record is None or (remaining := record.remaining_ms(now)) < 1:
            return None
        near = self._table.is_near(key, record.replication)
        value, length = record.value, len(record.value)
        if length <= MAX_INLINE_VALUE:
            return Value(record.version, remaining, record.replication, near, value)
        ticket = self._ticket(asker, Download(key, record.version, length), length, now)
        return LargeValue(
            record.version,
            remaining,
            record.replication,
            near,
            record.is_owned,
            length,
            record.digest,
            ticket,
        )

    def _ticket(self, peer: Contact, errand: Errand, length: int, now: float) -> bytes:
        return self._tickets.issue(public_key_of(peer.proof), errand, length, now)

    def _nodes(self, target: int, asker: Contact) -> Nodes:
        """What is asked for again and again (values that many read, ids that their own nodes look up) is
        looked for once, until the table changes."""
        table = self._table
        if table.revision != self._revision:
            self._revision = table.revision
            self._answers.clear()
        answer = self._answers.get(target)
        if answer is None:
            if len(self._answers) >= ANSWERS:
                self._answers.clear()
            answer = self._answers[target] = _Answer.of(table.closest(target, K + 1, live_only=True))
        return answer.without(asker.node_id) if asker.node_id in answer.ids else answer.nodes

    def _record(self, request: Store | Offer, value: bytes, writer: Contact, now: float) -> Record:
        lifetime = min(request.ttl_ms / 1000, self._max_ttl)
        if not request.replication:
            lifetime = cache_lifetime(lifetime, self._rank(request.key), REPLICATION)
        subnet = counted_subnet(writer.address[0], self._table.subnet_of)
        return Record(
            request.key, value, request.version, now + lifetime, request.replication, writer.node_id, subnet
        )

    def _hold(
        self, record: Record, request: Store | Offer, writer: Contact, now: float, respond: Respond
    ) -> None:
        nearer = self._nearer(request, writer)
        if self._store is None or not self._may_hold(request) or not _is_worth_holding(record, now):
            respond(Refused(nearer))
            return
        held = None if request.copy else in_the_way(self._store, record, now)
        if held is not None:
            respond(Outranked(held.version, nearer))
            return
        self._store.offer(record, now, partial(_tell, respond, nearer))
        if not record.is_cached:
            self._diary.told(record.key, now)

    def _may_hold(self, request: Store | Offer) -> bool:
        """Whether this node has any business with the key. A cached copy may be anywhere."""
        widest = max(STRAY * request.replication, REPLICATION)
        return self._stores and (not request.replication or self._table.may_hold(request.key, widest))

    def _rank(self, key: int) -> int:
        """How many nodes are nearer to the key; K stands for all that are more."""
        distance = self._table.own_id ^ key
        return sum(c.node_id ^ key < distance for c in self._table.closest(key, K, live_only=True))

    def _weigh(self, offer: Offer, writer: Contact, now: float) -> Reply:
        """Whether a record is held already, as far as can be told without its value."""
        nearer = self._nearer(offer, writer)
        if self._store is None or not self._may_hold(offer):
            return Refused(nearer)
        held = self._store.get(offer.key, now)
        if held is not None:
            rank, offered = held.rank, claimed_rank(offer.key, offer.version, offer.owned, offer.digest)
            if rank > offered:
                return Outranked(held.version, nearer)
            outlives = offer.ttl_ms > held.remaining_ms(now) + EXPIRY_SLACK_MS
            if rank == offered and not outlives and offer.replication <= held.replication:
                self._diary.told(offer.key, now)
                return Stored(nearer)
        if offer.length <= MAX_INLINE_VALUE:
            return Wanted(nearer, NO_TICKET)
        return Wanted(nearer, self._ticket(writer, Upload(offer, writer, now), offer.length, now))

    # The bulk channel

    def redeem(self, ticket: bytes, public_key: bytes, now: float) -> Errand | None:
        """What the peer with this raw public key was given the ticket for; None when that is nothing."""
        return self._tickets.redeem(ticket, public_key, now)

    def take(self, upload: Upload, value: bytes, now: float, respond: Respond) -> None:
        """The value of a record that was wanted has come, as long as was said. Answered like a STORE."""
        offer = upload.offer
        record = self._record(offer, value, upload.writer, upload.offered_at)
        if record.digest == offer.digest and record.expires_at > now:
            self._hold(record, offer, upload.writer, now, respond)
        else:
            respond(Refused(self._nearer(offer, upload.writer)))

    def give(self, download: Download, now: float) -> bytes | None:
        """The value that was asked for; None when another one is held by now, or none."""
        record = self._store.get(download.key, now) if self._store else None
        if record is None or (record.version, len(record.value)) != (download.version, download.length):
            return None
        return record.value

    # The neighbourhood

    def _nearer(self, request: Store | Offer, writer: Contact) -> tuple[Contact, ...]:
        """What the writer may not know: the nodes nearest to the key, where it named another set.

        So a writer that knows the neighbourhood stores without asking for it first, and one that only
        believes to know it is put right by any holder that knows better.
        """
        if not request.replication:
            return ()
        known = self._table.holders(request.key, request.replication)
        ids = [contact.node_id for contact in known]
        nearest = sorted({*ids, writer.node_id, self._table.own_id}, key=request.key.__xor__)
        if fingerprint(nearest[: request.replication]) == request.neighbours:
            return ()
        return tuple(contact for contact in known if contact.node_id != writer.node_id)


def _is_worth_holding(record: Record, now: float) -> bool:
    """Whether it is what it claims to be, and, of what is only cached, content that lives for a while."""
    if record.is_cached and (record.expires_at < now + 1 or record.kind is not Kind.CONTENT):
        return False
    # The signature is looked at last: it costs more than all the rest.
    return record.is_authentic


def _tell(respond: Respond, nearer: tuple[Contact, ...], verdict: Verdict) -> None:
    if verdict.outcome is Outcome.HELD:
        respond(Stored(nearer))
    elif verdict.outcome is Outcome.OUTRANKED:
        respond(Outranked(verdict.version, nearer))
    else:
        respond(Refused(nearer))
