"""What the contacts that a get has asked say of its key, and when that is enough."""

from collections.abc import Collection

from attrs import define, field

from dht14.bounded import ExpiringSet
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import GROUP, QUORUM, REPLICATION, SPARES_NEAR
from dht14.node.fetch import ValueSource, advertised_in, is_within, record_in
from dht14.node.lookup_run import AnyLookup
from dht14.node.network_clock import NetworkClock
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank, ReadQuorum
from dht14.records.record import Kind, Record
from dht14.records.version_floors import Floor
from dht14.wire.messages import Lapsed, LargeValue, Nodes, Reply, Value

OWNER_CLAIMS = 3 / 4
"""The share of the nearest nodes that must advertise an owner's record before a read insists on it."""


@define(eq=False, kw_only=True)
class GetReplies:
    """What the contacts asked by one get have under its key."""

    key: int
    is_content: bool
    """Whether only a value whose SHA-256 is the key counts."""
    exhaustive: bool
    """Whether all near nodes are asked, whatever the first ones answer."""
    _now: float
    _time: NetworkClock
    _distrusted: ExpiringSet[int]
    quorum: ReadQuorum = field(factory=ReadQuorum, init=False)
    spares: int = field(default=SPARES_NEAR, init=False)
    """Contacts to ask beyond the votes that are missing."""
    ended_early: bool = field(default=False, init=False)
    """Whether the lookup ended because most of the group have the same record."""
    last_resort: Record | None = field(default=None, init=False)
    """What the own store has, from the future: the answer only where there is nothing else. This node wrote
    it when it did not know the time, or most clocks have been set back since."""
    _count: int = field(default=0, init=False)
    """Contacts that have answered, whatever they said."""
    _held: list[tuple[Contact, Rank | None]] = field(factory=list, init=False)
    """What each contact has."""
    _sources: dict[Rank, list[ValueSource]] = field(factory=dict, init=False)
    """The holders that advertise each record, in the order of their replies."""
    _doubtful: list[tuple[AdvertisedRecord, ValueSource]] = field(factory=list, init=False)
    """What distrusted contacts advertise."""
    _advertisers: dict[Rank, set[int]] = field(factory=dict, init=False)
    """The ids of the contacts that advertise each record, the distrusted among them."""

    def has_own(self, own: Record, own_id: int | None) -> None:
        """This node has a record itself; `own_id` is None where its answer does not count."""
        if own.kind is Kind.OPEN and not self._time.may_be_held(own.version):
            self.last_resort = own
        else:
            self.quorum.add(own, own_id)

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered: tell the lookup what its reply means."""
        self._count += 1
        if isinstance(reply, Value):
            self._holds(lookup, contact, reply, self._record(reply))
        elif isinstance(reply, LargeValue):
            self._advertises(lookup, contact, reply)
        elif isinstance(reply, Lapsed) or (isinstance(reply, Nodes) and reply.holds_values):
            self._held.append((contact, None))
            if isinstance(reply, Lapsed):
                self.reported_expired(Floor(reply.kind, reply.version), contact.node_id)
            lookup.answered(contact, reply.contacts)
            self._end_if_certain(lookup)
        elif isinstance(reply, Nodes):
            lookup.refused(contact, reply.contacts)
            self._end_if_certain(lookup)
        else:
            lookup.refused(contact)

    def reported_expired(self, floor: Floor, node_id: int) -> None:
        """A node remembers that a record has expired."""
        self.quorum.reported_expired(self._time.believed_floor(floor), node_id)

    def _record(self, reply: Value) -> Record | None:
        known = self.quorum.copy_in(reply.value, reply.version)
        if known is not None and is_within(reply, known, self._now):
            return known
        record = record_in(reply, self.key, self._now)
        return record if known is not None or self._is_believable(record) else None

    def _advertises(self, lookup: AnyLookup, contact: Contact, reply: LargeValue) -> None:
        advertised = advertised_in(reply, self.key, self._now)
        if not self._is_believable(advertised):
            lookup.refused(contact, reply.nearer)
            return
        self._advertisers.setdefault(advertised.rank, set()).add(contact.node_id)
        source = ValueSource(contact, reply.ticket)
        if contact.node_id in self._distrusted:
            # Its word does not end the read. But it stays in the group: without those that hold a record and
            # could not send it, others that have missed it could be most of the group.
            self._doubtful.append((advertised, source))
            lookup.outdated(contact, reply.nearer)
            return
        self._sources.setdefault(advertised.rank, []).append(source)
        self._holds(lookup, contact, reply, advertised)

    def _is_believable(self, found: Record | AdvertisedRecord) -> bool:
        if self.is_content and found.rank[0] is not Kind.CONTENT:
            return False
        if found.rank[0] is Kind.OPEN and not self._time.may_be_held(found.version):
            return False
        return found.is_authentic if isinstance(found, Record) else found.is_possible

    def _holds(
        self,
        lookup: AnyLookup,
        contact: Contact,
        reply: Value | LargeValue,
        found: Record | AdvertisedRecord | None,
    ) -> None:
        if found is None:
            lookup.refused(contact, reply.nearer)
            return
        self._held.append((contact, found.rank))
        self.quorum.add(found, contact.node_id if reply.current else None)
        lookup.answered(contact, reply.nearer, votes=reply.current)
        self._end_if_certain(lookup)

    def _end_if_certain(self, lookup: AnyLookup) -> None:
        """End the lookup if the newest record is known; else ask no more nodes than votes are missing, and do
        not wait for the slow. Copies without a vote are no reason for that: what is waited for may be what
        replaced them."""
        if self.quorum.is_proven:
            self.ended_early = True
            lookup.conclude()
        elif isinstance(lookup, Lookup) and not self.exhaustive and self.quorum.holders:
            missing = lookup.missing_votes(self.quorum.holders)
            lookup.reduce(max(missing, 0) + self.spares)
            if missing <= 0:
                self.ended_early = True
                lookup.conclude()
        elif len(self.quorum.holders) >= QUORUM:
            lookup.heard_enough()

    def are_enough(self, lookup: AnyLookup) -> bool:
        """Whether a "not found" can rest on them, now that the lookup is over. Where hardly anybody has
        answered this node is probably cut off."""
        return lookup.finished and self._heard(lookup) >= self.unheard(lookup)

    def are_certain(self, lookup: AnyLookup) -> bool:
        """Whether nothing stands under the key, where nothing was found: also whatever those hold that have
        not answered."""
        is_contested = self.quorum.is_contested(self.unheard(lookup))
        return self.are_enough(lookup) and not self.are_claims and not is_contested

    def unheard(self, lookup: AnyLookup) -> int:
        """Return how many of the group have not answered, now that the lookup is over."""
        heard, silent = self._heard(lookup), lookup.asked_count - self._count
        return max(min(GROUP, heard + silent) - heard, 0)

    def _heard(self, lookup: AnyLookup) -> int:
        """Return how many that hold values have answered, this node included."""
        return len(self._held) + lookup.counts_self

    @property
    def are_claims(self) -> bool:
        """Whether as many contacts advertise one record as have one that was acknowledged. Where none of them
        has sent it, it is not known whether it exists."""
        return max(map(len, self._advertisers.values()), default=0) >= QUORUM

    def agreed_above(
        self, lookup: AnyLookup, best: Record | None, withdrawn: Collection[tuple[Rank, int]] = ()
    ) -> bool:
        """Whether most of the group advertise one record greater than `best`. A write that they have was
        acknowledged, perhaps before this read began: then nothing less is the answer to it. Once all of the
        nearest were asked, three quarters of eight must advertise an owner's record.

        `withdrawn`: records that a node turned out not to have, with its id.
        """
        return any(
            self._is_agreed(lookup, rank, withdrawn)
            for rank in self._advertisers
            if best is None or rank > best.rank
        )

    def _is_agreed(self, lookup: AnyLookup, rank: Rank, withdrawn: Collection[tuple[Rank, int]] = ()) -> bool:
        claimants = {node_id for node_id in self._advertisers[rank] if (rank, node_id) not in withdrawn}
        if not claimants or not self.quorum.counts(rank):
            return False
        if rank[0] is Kind.OWNER and self.exhaustive:
            # Its signature comes with the value only. Where a fifth of all nodes lie, most of the group do at
            # one key of 17, and three quarters of the eight nearest at one of 800.
            nearest = lookup.members(REPLICATION)
            return sum(contact.node_id in claimants for contact in nearest) >= OWNER_CLAIMS * len(nearest)
        if isinstance(lookup, Lookup):
            return lookup.missing_votes(claimants) <= 0
        return len(claimants) >= QUORUM

    def outdated(self, winner: Record) -> list[Contact]:
        """Return the contacts that had nothing, or a record less than the winner."""
        rank = winner.rank
        return [contact for contact, held in self._held if held is None or held < rank]

    def without_record(self) -> list[Contact]:
        """Return the contacts that had nothing."""
        return [contact for contact, held in self._held if held is None]

    def to_fetch(
        self, lookup: AnyLookup, best: Record | None
    ) -> list[tuple[AdvertisedRecord, list[ValueSource]]]:
        """Return the advertised records greater than `best`, the greatest of those received, with their
        holders: those first that most contacts advertise, of these the greatest. Not all are fetched, and a
        few liars could make up any number of greater ones.

        Those of distrusted contacts are returned only if there is nothing else, or most of the group agree;
        never where more nodes than advertise the record remember that it is over.
        """
        above = {
            advertised.rank: (advertised, list(self._sources[advertised.rank]))
            for advertised in self.quorum.advertised_above(best)
        }
        has_nothing = not above and best is None
        for advertised, source in self._doubtful:
            rank = advertised.rank
            is_above = best is None or rank > best.rank
            if not self.quorum.counts(rank, len(self._advertisers[rank])):
                continue  # It has expired, or what replaced it has.
            if has_nothing or (is_above and self._is_agreed(lookup, rank)):
                above.setdefault(rank, (advertised, []))[1].append(source)
        order = sorted(above, key=lambda rank: (len(above[rank][1]), rank), reverse=True)
        return [above[rank] for rank in order]
