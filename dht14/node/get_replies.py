"""What the contacts that a get has asked say of its key, and when that is enough."""

from collections import Counter

from attrs import define, field

from dht14.bounded import ExpiringSet
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import GROUP, QUORUM, SPARES_NEAR
from dht14.node.fetch import ValueSource, advertised_in, is_within, record_in
from dht14.node.lookup_run import AnyLookup
from dht14.node.network_clock import NetworkClock
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank, ReadQuorum
from dht14.records.record import Kind, Record
from dht14.records.version_floors import Floor
from dht14.wire.messages import Lapsed, LargeValue, Nodes, Reply, Value


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
    _count: int = field(default=0, init=False)
    """Contacts that have answered, whatever they said."""
    _held: list[tuple[Contact, Rank | None]] = field(factory=list, init=False)
    """What each contact has."""
    _sources: dict[Rank, list[ValueSource]] = field(factory=dict, init=False)
    """The holders that advertise each record, in the order of their replies."""
    _doubtful: list[tuple[AdvertisedRecord, ValueSource]] = field(factory=list, init=False)
    """What distrusted contacts advertise."""
    _advertisers: Counter[Rank] = field(factory=Counter, init=False)
    """How many contacts advertise each record, the distrusted among them."""

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered: tell the lookup what its reply means."""
        self._count += 1
        if isinstance(reply, Value):
            self._holds(lookup, contact, reply, self._record(reply))
        elif isinstance(reply, LargeValue):
            self._holds(lookup, contact, reply, self._advertised(contact, reply))
        elif isinstance(reply, Lapsed) or (isinstance(reply, Nodes) and reply.holds_values):
            self._held.append((contact, None))
            if isinstance(reply, Lapsed):
                self.quorum.reported_expired(Floor(reply.kind, reply.version), contact.node_id)
            lookup.answered(contact, reply.contacts)
            self._end_if_certain(lookup)
        elif isinstance(reply, Nodes):
            lookup.refused(contact, reply.contacts)
            self._end_if_certain(lookup)
        else:
            lookup.refused(contact)

    def _record(self, reply: Value) -> Record | None:
        known = self.quorum.copy_in(reply.value, reply.version)
        if known is not None and is_within(reply, known, self._now):
            return known
        record = record_in(reply, self.key, self._now)
        return record if known is not None or self._is_believable(record) else None

    def _advertised(self, contact: Contact, reply: LargeValue) -> AdvertisedRecord | None:
        advertised = advertised_in(reply, self.key, self._now)
        if not self._is_believable(advertised):
            return None
        self._advertisers[advertised.rank] += 1
        source = ValueSource(contact, reply.ticket)
        if contact.node_id in self._distrusted:
            self._doubtful.append((advertised, source))
            return None
        self._sources.setdefault(advertised.rank, []).append(source)
        return advertised

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
        """End the lookup if the newest record is known; else ask no more nodes than votes are missing."""
        if self.quorum.is_proven:
            self.ended_early = True
            lookup.conclude()
        elif isinstance(lookup, Lookup) and not self.exhaustive and self.quorum.best is not None:
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
        silent = lookup.asked_count - self._count
        heard = len(self._held) + lookup.counts_self
        return lookup.finished and 2 * heard >= min(GROUP, heard + silent)

    @property
    def are_claims(self) -> bool:
        """Whether as many contacts advertise one record as have one that was acknowledged. Where none of them
        has sent it, it is not known whether it exists."""
        return max(self._advertisers.values(), default=0) >= QUORUM

    def outdated(self, winner: Record) -> list[Contact]:
        """Return the contacts that had nothing, or a record less than the winner."""
        rank = winner.rank
        return [contact for contact, held in self._held if held is None or held < rank]

    def without_record(self) -> list[Contact]:
        """Return the contacts that had nothing."""
        return [contact for contact, held in self._held if held is None]

    def to_fetch(self, best: Record | None) -> list[tuple[AdvertisedRecord, list[ValueSource]]]:
        """Return the advertised records greater than `best`, the greatest of those received, the greatest
        first, with their holders.

        Those of distrusted contacts are returned only if there is nothing else.
        """
        above = self.quorum.advertised_above(best)
        if not above and best is None:
            return [(advertised, [source]) for advertised, source in self._doubtful]
        return [(advertised, self._sources[advertised.rank]) for advertised in above]
