"""Answers STORE, OFFER and INVENTORY: decides which records this node takes, and passes them to the store."""

from functools import partial

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_INLINE_VALUE, MAX_VALUE, REPLICATION, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.network_clock import NetworkClock
from dht14.node.ports import Respond
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Transfer, Upload, issue_ticket
from dht14.records.record import EXPIRY_SLACK, Kind, Record, advertised_rank, is_possible
from dht14.records.store import Outcome, RecordStore, Refusal, Verdict, conflicting_record
from dht14.records.version_floors import Floor
from dht14.security.shares import Priority, SharedRateLimiter
from dht14.security.subnets import Scope, counted_subnet, parties_of
from dht14.security.tickets import Tickets
from dht14.wire.messages import (
    NO_TICKET,
    Inventory,
    InventoryEntry,
    Lacking,
    Offer,
    Outranked,
    Refused,
    Store,
    Stored,
    Wanted,
    fingerprint,
    mark_of,
)

FAR_FACTOR = 2
"""A STORE is refused if this many times as many nodes as should hold the record are nearer to its key, and as
many as a read asks: the writer is wrong about the neighbourhood. Once as many is not enough: when the nearest
die, others stand in for them, and this node may not know yet."""

RENEWALS_PER_SECOND = 64
RENEWALS_PER_PARTY = {
    Scope.HOST: 8,
    Scope.SUBNET: 8,
    Scope.PROVIDER: 16,
    Scope.PRIVATE_HOST: 16,
}
"""Large records a second that an OFFER alone renews, in all and of one party. A small datagram makes the disk
write a large value then. Beyond that the value must come again."""

MAX_BYTES_COMPARED = MAX_VALUE
"""Bytes of values that this node reads for one INVENTORY, about: as many as for one FIND_VALUE. The rest must
be offered one by one."""

SLACK_SHARE = 0.2
"""A copy that lives longer by less than this share of what it has left, and by less than `EXPIRY_SLACK`, is
the same copy. A renewal adds 0.4 of a life at least: so one of a few seconds is renewed, too."""

MAX_CACHE_TTL = 3_600.0
"""Seconds for which a cached copy lives at most: at the nearest node that need not hold the record."""


@define(eq=False)
class WriteResponder:
    """What this node answers to writers. Without a store it refuses every record."""

    _neighbourhood: Neighbourhood
    _store: RecordStore | None
    _max_ttl: float
    _tickets: Tickets[Transfer]
    _time: NetworkClock
    _republish_times: RepublishTimes
    _resync_state: ResyncState
    _table: RoutingTable = field(init=False)
    _stores: bool = field(default=True, init=False)
    _renewals: SharedRateLimiter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._renewals = SharedRateLimiter(RENEWALS_PER_SECOND, RENEWALS_PER_PARTY, parties_of, 0.0)
        self._table = self._neighbourhood.table

    def stop_storing(self) -> None:
        """Refuse all records: this node is about to leave, and others would have to fetch them again."""
        self._stores = False

    # STORE

    def store(self, request: Store, writer: Contact, now: float, respond: Respond) -> None:
        """Answer a STORE, when the store has decided."""
        self._take(self._record(request, request.value, writer, now), request, writer, now, respond)

    def upload(self, upload: Upload, value: bytes, now: float, respond: Respond) -> None:
        """Answer the push of a value that was wanted, like a STORE."""
        offer = upload.offer
        record = self._record(offer, value, upload.writer, upload.offered_at)
        if record.digest == offer.digest and record.expires_at > now:
            self._take(record, offer, upload.writer, now, respond)
        else:
            respond(Refused(self._nearer(offer, upload.writer), Refusal.INVALID))

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

    def _rank(self, key: int) -> int:
        """Return how many nodes are nearer to the key; K stands for K or more."""
        distance = self._table.own_id ^ key
        return sum(c.node_id ^ key < distance for c in self._table.closest(key, K, live_only=True))

    def _take(
        self, record: Record, request: Store | Offer, writer: Contact, now: float, respond: Respond
    ) -> None:
        nearer = self._nearer(request, writer)
        refusal = self._refusal(request, writer, now) or self._flaw(record, request.copy, now)
        if self._store is None or refusal is not None:
            respond(self._refused(record.key, nearer, refusal, now))
            return
        held = None if request.copy else conflicting_record(self._store, record, now)
        if held is not None and self._store.is_in_place():
            respond(Outranked(held.version, nearer))
            return
        self._store.offer(record, now, partial(self._decided, respond, record.key, nearer, now))
        if not record.is_cached:
            self._republish_times.republished_by_peer(record.key, now)

    def _decided(
        self, respond: Respond, key: int, nearer: tuple[Contact, ...], now: float, verdict: Verdict
    ) -> None:
        if verdict.outcome is Outcome.HELD:
            respond(Stored(nearer, self._resync_state.is_current, verdict.replication))
        elif verdict.outcome is Outcome.OUTRANKED:
            respond(Outranked(verdict.version, nearer))
        else:
            respond(self._refused(key, nearer, verdict.refusal, now))

    # OFFER

    def offer(self, offer: Offer, writer: Contact, now: float, respond: Respond) -> None:
        """Answer an OFFER: what became of the record, as far as that is known without its value; else that
        the value is wanted."""
        nearer = self._nearer(offer, writer)
        refusal = self._refusal(offer, writer, now)
        if refusal is None and not is_possible(
            offer.key, offer.version, offer.owned, offer.digest, offer.length
        ):
            refusal = Refusal.INVALID
        if self._store is None or refusal is not None:
            respond(self._refused(offer.key, nearer, refusal, now))
            return
        held = self._store.get(offer.key, now)
        if not self._store.is_in_place():
            respond(self._refused(offer.key, nearer, Refusal.NO_ROOM, now))
            return
        offered = advertised_rank(offer.key, offer.version, offer.owned, offer.digest)
        if held is None:
            floor = self._time.believed_floor(self._store.floor(offer.key, now))
            if offered[0] is not Kind.CONTENT and offered[:2] <= floor:
                respond(Outranked(floor.version, nearer))
            else:
                respond(self._wanted(offer, nearer, writer, now))
            return
        rank = held.rank
        if rank > offered:
            respond(Outranked(held.version, nearer))
        elif rank == offered and not _adds_to(held, offer.ttl_ms, offer.replication, now, offer.copy):
            self._republish_times.republished_by_peer(offer.key, now)
            respond(Stored(nearer, self._resync_state.is_current, held.replication))
        elif rank == offered and offer.length > MAX_INLINE_VALUE and self._may_renew(writer, now):
            # The digests are equal, and so are the values: the one that is here need not come again.
            self._take(self._record(offer, held.value, writer, now), offer, writer, now, respond)
        else:
            respond(self._wanted(offer, nearer, writer, now))

    def _may_renew(self, writer: Contact, now: float) -> bool:
        is_known = writer.node_id in self._table
        return self._renewals.take(writer.address[0], Priority.CONTACT if is_known else Priority.PROVEN, now)

    def _wanted(self, offer: Offer, nearer: tuple[Contact, ...], writer: Contact, now: float) -> Wanted:
        if offer.length <= MAX_INLINE_VALUE:
            return Wanted(nearer, NO_TICKET)
        return Wanted(nearer, issue_ticket(self._tickets, writer, Upload(offer, writer, now), now))

    # INVENTORY

    def inventory(self, inventory: Inventory, now: float) -> Lacking | Refused:
        """Answer an INVENTORY: which of its records this node wants to be offered."""
        if self._store is None or not self._stores:
            return Refused((), Refusal.NO_VALUES if self._store is None else Refusal.LEAVING)
        if not self._store.is_in_place():
            return Refused((), Refusal.NO_ROOM)
        lacking, left = 0, MAX_BYTES_COMPARED
        for index, entry in enumerate(inventory.entries):
            held = self._store.get(entry.key, now) if left > 0 else None
            left -= len(held.value) if held is not None else 0
            if held is not None and _is_same(entry, held, now):
                self._republish_times.republished_by_peer(entry.key, now)
            else:
                lacking |= 1 << index
        return Lacking(lacking)

    # Refusals

    def _refusal(self, request: Store | Offer, writer: Contact, now: float) -> Refusal | None:
        """Return why this node must not hold the key; None if it may. Any node may hold a cached copy."""
        if self._store is None:
            return Refusal.NO_VALUES
        if not self._stores:
            return Refusal.LEAVING
        widest = max(FAR_FACTOR * request.replication, REPLICATION)
        if request.replication and not self._neighbourhood.may_hold(request.key, widest):
            if self._table.holds(writer):
                self._table.disputed(request.key, now)
            return Refusal.NOT_NEAR
        return None

    def _flaw(self, record: Record, is_copy: bool, now: float) -> Refusal | None:
        """Return why no node may hold the record; None if nodes may."""
        if record.is_cached and (record.expires_at < now + 1 or record.kind is not Kind.CONTENT):
            return Refusal.INVALID
        if record.kind is Kind.OPEN and not self._has_possible_version(record, is_copy, now):
            return Refusal.VERSION
        # The signature comes last: it costs more to verify than all the rest.
        return None if record.is_authentic else Refusal.INVALID

    def _has_possible_version(self, record: Record, is_copy: bool, now: float) -> bool:
        """Whether the version is not from the future.

        Another holder has accepted a copy before, and its time may be a little ahead. A writer may always go
        one above the version that is held here, or that was held and has expired.
        """
        if self._time.may_be_written(record.version):
            return True
        if is_copy and self._time.may_be_held(record.version):
            return True
        if self._store is None:
            return False
        held = self._store.get(record.key, now)
        last = self._store.floor(record.key, now) if held is None else Floor(held.kind, held.version)
        return last.kind == Kind.OPEN and record.version == last.version + 1

    def _refused(self, key: int, nearer: tuple[Contact, ...], refusal: Refusal | None, now: float) -> Refused:
        if self._store is None or refusal is None:
            return Refused(nearer, Refusal.NO_VALUES)
        return Refused(nearer, refusal, holds_older=self._store.get(key, now) is not None)

    def _nearer(self, request: Store | Offer, writer: Contact) -> tuple[Contact, ...]:
        """Return the nodes nearest to the key if the writer named another set of them.

        So a writer that knows the neighbourhood stores without asking for it first; a writer that is wrong
        about it is corrected by any holder that knows better.
        """
        if not request.replication:
            return ()
        known = self._table.holders(request.key, request.replication)
        ids = [contact.node_id for contact in known]
        nearest = sorted({*ids, writer.node_id, self._table.own_id}, key=request.key.__xor__)
        if fingerprint(nearest[: request.replication]) == request.neighbours:
            return ()
        return tuple(contact for contact in known if contact.node_id != writer.node_id)


def _adds_to(held: Record, ttl_ms: int, replication: int, now: float, is_copy: bool = True) -> bool:
    """Return whether a copy of the record held lives longer than it, or asks for more holders. What a client
    puts again lives for exactly as long as the client is told."""
    slack = min(EXPIRY_SLACK, SLACK_SHARE * ttl_ms / 1000) if is_copy else 0.0
    outlives = ttl_ms > held.remaining_ms(now) + 1000 * slack
    return outlives or replication > held.replication


def _is_same(entry: InventoryEntry, held: Record, now: float) -> bool:
    """Return whether the sender of an inventory holds the same record as this node, and for no longer."""
    if entry.mark != mark_of(held.version, held.digest):
        return False
    return not _adds_to(held, 1000 * entry.ttl_seconds, entry.replication, now)


def cache_lifetime(remaining: float, nearer: int, holders: int) -> float:
    """Return the seconds for which a node keeps a copy that it need not keep.

    `nearer` nodes are nearer to the key, and the first `holders` of them hold the record anyway. Each of the
    others halves the time: so a value with many readers is found a little earlier, and does not fill the
    network.
    """
    return min(remaining, MAX_CACHE_TTL) / 2.0 ** max(nearer - holders, 0)
