"""Answers the requests of other nodes, each at once and without asking anybody."""

from collections.abc import Callable
from functools import partial

from attrs import define, field, frozen

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, MAX_INLINE_VALUE, REPLICATION, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.freshness import Freshness
from dht14.node.network_time import NetworkTime
from dht14.node.republish_times import RepublishTimes
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Kind, Record, advertised_rank, is_possible
from dht14.records.store import Outcome, RecordStore, Refusal, Verdict, conflicting_record
from dht14.records.version_floors import NO_FLOOR
from dht14.security.identity import public_key_in
from dht14.security.subnets import counted_subnet
from dht14.security.tickets import Tickets
from dht14.wire.contacts import first_fitting
from dht14.wire.messages import (
    MAX_VALUE_AND_CONTACTS,
    NO_TICKET,
    VIEW_PART_BYTES,
    Announce,
    FindNode,
    FindValue,
    Lapsed,
    LargeValue,
    Nodes,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Request,
    Resync,
    Resynced,
    Store,
    Stored,
    Value,
    Wanted,
    fingerprint,
    view_of,
)

Respond = Callable[[Reply], None]

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
    def of(cls, known: list[Contact], holds_values: bool) -> "_Answer":
        ids = frozenset(contact.node_id for contact in known)
        return cls(known, ids, Nodes(tuple(known[:K]), holds_values))

    def without(self, asker: Contact) -> Nodes:
        """A node learns nothing of itself; but of another one that has its id, wherever that is."""
        others = [contact for contact in self.known if not contact.is_same(asker)]
        return Nodes(tuple(others[:K]), self.nodes.holds_values)


@frozen(eq=False)
class _HolderGroup:
    """The nodes nearest to a key, as far as the table knew when it was at this revision."""

    revision: int
    view: bytes
    others: tuple[Contact, ...]
    """Without this node, nearest first."""

    @classmethod
    def around(cls, key: int, table: RoutingTable) -> "_HolderGroup":
        known = table.holders(key, GROUP)
        ids = sorted((*(contact.node_id for contact in known), table.own_id), key=key.__xor__)[:GROUP]
        others = tuple(contact for contact in known if contact.node_id in ids)
        return cls(table.revision, view_of(ids), others)


@define(eq=False)
class Responder:
    """What this node tells others.

    A node without a store holds no values: a bootstrap node. It refuses every STORE.
    """

    _table: RoutingTable
    _store: RecordStore | None
    _max_ttl: float
    _tickets: Tickets[Transfer]
    _time: NetworkTime
    _diary: RepublishTimes = field(factory=RepublishTimes)
    """Where it is noted what others have brought."""
    _freshness: Freshness = field(factory=Freshness)
    _stores: bool = field(default=True, init=False)
    _answers: dict[int, _Answer] = field(factory=dict, init=False)
    """To requests for nodes, by target, as long as the table stays as it is."""
    _revision: int = field(default=0, init=False)
    """Of the table that these were made from."""
    _groups: dict[int, _HolderGroup] = field(factory=dict, init=False)
    """By key, for those who ask for values."""

    def store_no_more(self) -> None:
        """This node is about to leave: it refuses what others would have to fetch again."""
        self._stores = False

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Answer one request of `sender`, by calling `respond` once, now or when the store is done."""
        if isinstance(request, FindNode):
            respond(self._nodes(request.target, sender))
        elif isinstance(request, FindValue):
            respond(self._value(request, sender, now) or self._nothing(request.key, sender, now))
        elif isinstance(request, (Ping, Announce)):
            respond(self._pong())
        elif isinstance(request, Store):
            self._hold(self._record(request, request.value, sender, now), request, sender, now, respond)
        elif isinstance(request, Offer):
            respond(self._weigh(request, sender, now))
        else:
            respond(self._resync(request, sender, now))

    def _pong(self) -> Pong:
        return Pong(int(self._time.wall() * 1000))

    def _resync(self, request: Resync | Resynced, sender: Contact, now: float) -> Pong | Refused:
        if self._store is None:
            return Refused((), Refusal.NO_VALUES)
        if isinstance(request, Resync):
            self._freshness.asked_by(sender, now)
        else:
            self._freshness.resynced(sender.node_id)
        return self._pong()

    def _value(self, request: FindValue, asker: Contact, now: float) -> Value | LargeValue | None:
        key = request.key
        record = self._store.get(key, now) if self._store else None
        if record is None or (remaining := record.remaining_ms(now)) < 1:
            return None
        current = self._freshness.is_current
        nearer = self._missing_in(request.view, key, asker)
        value, length = record.value, len(record.value)
        if length <= MAX_INLINE_VALUE:
            if nearer:
                nearer = first_fitting(nearer, MAX_VALUE_AND_CONTACTS - length)
            return Value(record.version, remaining, record.replication, current, value, nearer)
        ticket = self._ticket(asker, Download(key, record.version, length), length, now)
        return LargeValue(
            record.version,
            remaining,
            record.replication,
            current,
            record.is_owned,
            length,
            record.digest,
            ticket,
            nearer,
        )

    def _missing_in(self, view: bytes, key: int, asker: Contact) -> tuple[Contact, ...]:
        """Of the nodes nearest to the key, those of which the asker does not know."""
        group = self._groups.get(key)
        if group is None or group.revision != self._table.revision:
            if len(self._groups) >= ANSWERS:
                self._groups.clear()
            group = self._groups[key] = _HolderGroup.around(key, self._table)
        if view == group.view:
            return ()
        known = {view[i : i + VIEW_PART_BYTES] for i in range(0, len(view), VIEW_PART_BYTES)}
        return tuple(
            contact
            for contact in group.others
            if contact.node_id != asker.node_id and view_of((contact.node_id,)) not in known
        )

    def _ticket(self, peer: Contact, errand: Transfer, length: int, now: float) -> bytes:
        return self._tickets.issue(public_key_in(peer.proof), errand, length, now)

    def _nothing(self, key: int, asker: Contact, now: float) -> Nodes | Lapsed:
        nodes = self._nodes(key, asker)
        floor = self._store.floor(key, now) if self._store else NO_FLOOR
        return nodes if floor == NO_FLOOR else Lapsed(nodes.contacts, *floor)

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
            known = table.closest(target, K + 1, live_only=True)
            answer = self._answers[target] = _Answer.of(known, self._store is not None)
        return answer.without(asker) if asker.node_id in answer.ids else answer.nodes

    def _record(self, request: Store | Offer, value: bytes, writer: Contact, now: float) -> Record:
        lifetime = min(request.ttl_ms / 1000, self._max_ttl)
        if not request.replication:
            lifetime = cache_lifetime(lifetime, self._rank(request.key), REPLICATION)
        subnet = counted_subnet(writer.address[0], self._table.subnet_of)
        return Record(
            key=request.key,
            value=value,
            version=request.version,
            expires_at=now + lifetime,
            replication=request.replication,
            writer=writer.node_id,
            writer_subnet=subnet,
        )

    def _hold(
        self, record: Record, request: Store | Offer, writer: Contact, now: float, respond: Respond
    ) -> None:
        nearer = self._nearer(request, writer)
        refusal = self._refusal(request) or self._flaw(record, request.copy, now)
        if self._store is None or refusal is not None:
            respond(self._refused(record.key, nearer, refusal, now))
            return
        held = None if request.copy else conflicting_record(self._store, record, now)
        if held is not None:
            respond(Outranked(held.version, nearer))
            return
        self._store.offer(record, now, partial(self._tell, respond, nearer))
        if not record.is_cached:
            self._diary.told(record.key, now)

    def _refusal(self, request: Store | Offer) -> Refusal | None:
        """Why this node has no business with the key; None if it has. A cached copy may be anywhere."""
        if self._store is None:
            return Refusal.NO_VALUES
        if not self._stores:
            return Refusal.LEAVING
        widest = max(STRAY * request.replication, REPLICATION)
        if request.replication and not self._table.may_hold(request.key, widest):
            return Refusal.NOT_NEAR
        return None

    def _flaw(self, record: Record, is_copy: bool, now: float) -> Refusal | None:
        """Why a record may not be held by anybody; None if it may."""
        if record.is_cached and (record.expires_at < now + 1 or record.kind is not Kind.CONTENT):
            return Refusal.INVALID
        if record.kind is Kind.OPEN and not self._believes(record, is_copy, now):
            return Refusal.VERSION
        # The signature is looked at last: it costs more than all the rest.
        return None if record.is_authentic else Refusal.INVALID

    def _believes(self, record: Record, is_copy: bool, now: float) -> bool:
        """Whether the version is not from the future. A copy was believed by another holder, whose time may be
        a little ahead; and a writer may always go above what is held here."""
        if self._time.believes(record.version) or (is_copy and self._time.may_be_held(record.version)):
            return True
        held = self._store.get(record.key, now) if self._store else None
        return held is not None and held.kind is Kind.OPEN and record.version == held.version + 1

    def _tell(self, respond: Respond, nearer: tuple[Contact, ...], verdict: Verdict) -> None:
        if verdict.outcome is Outcome.HELD:
            respond(Stored(nearer, self._freshness.is_current, verdict.replication))
        elif verdict.outcome is Outcome.OUTRANKED:
            respond(Outranked(verdict.version, nearer))
        else:
            respond(Refused(nearer, verdict.refusal, holds_older=verdict.version > 0))

    def _refused(self, key: int, nearer: tuple[Contact, ...], refusal: Refusal | None, now: float) -> Refused:
        if self._store is None or refusal is None:
            return Refused(nearer, Refusal.NO_VALUES)
        return Refused(nearer, refusal, holds_older=self._store.get(key, now) is not None)

    def _rank(self, key: int) -> int:
        """How many nodes are nearer to the key; K stands for all that are more."""
        distance = self._table.own_id ^ key
        return sum(c.node_id ^ key < distance for c in self._table.closest(key, K, live_only=True))

    def _weigh(self, offer: Offer, writer: Contact, now: float) -> Reply:
        """Whether a record is held already, as far as can be told without its value."""
        nearer = self._nearer(offer, writer)
        refusal = self._refusal(offer)
        if refusal is None and not is_possible(
            offer.key, offer.version, offer.owned, offer.digest, offer.length
        ):
            refusal = Refusal.INVALID
        if self._store is None or refusal is not None:
            return self._refused(offer.key, nearer, refusal, now)
        held = self._store.get(offer.key, now)
        if held is not None:
            rank, offered = held.rank, advertised_rank(offer.key, offer.version, offer.owned, offer.digest)
            if rank > offered:
                return Outranked(held.version, nearer)
            outlives = offer.ttl_ms > held.remaining_ms(now) + EXPIRY_SLACK_MS
            if rank == offered and not outlives and offer.replication <= held.replication:
                self._diary.told(offer.key, now)
                return Stored(nearer, self._freshness.is_current, held.replication)
        if offer.length <= MAX_INLINE_VALUE:
            return Wanted(nearer, NO_TICKET)
        return Wanted(nearer, self._ticket(writer, Upload(offer, writer, now), offer.length, now))

    # The bulk channel

    def redeem(self, ticket: bytes, public_key: bytes, now: float) -> Transfer | None:
        """What the peer with this raw public key was given the ticket for; None when that is nothing."""
        return self._tickets.redeem(ticket, public_key, now)

    def take(self, upload: Upload, value: bytes, now: float, respond: Respond) -> None:
        """The value of a record that was wanted has come, as long as was said. Answered like a STORE."""
        offer = upload.offer
        record = self._record(offer, value, upload.writer, upload.offered_at)
        if record.digest == offer.digest and record.expires_at > now:
            self._hold(record, offer, upload.writer, now, respond)
        else:
            respond(Refused(self._nearer(offer, upload.writer), Refusal.INVALID))

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


CACHE_SECONDS = 3_600.0
"""The longest that one lives: with the nearest node that does not hold the record anyway."""


def cache_lifetime(remaining: float, nearer: int, holders: int) -> float:
    """Seconds for which a node keeps a copy that it need not keep.

    `nearer` nodes are nearer to the key, `holders` of which have it anyway. It is halved for each of the
    others: so a value that is read much is found a little earlier, and does not fill the network.
    """
    return min(remaining, CACHE_SECONDS) / 2.0 ** max(nearer - holders, 0)
