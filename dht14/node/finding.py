"""What one get hears of its key: the records themselves, and claims of those that fit no datagram."""

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import K
from dht14.node.answers import Answers
from dht14.node.search import Walk
from dht14.storage.ballot import Ballot, Rank
from dht14.storage.claim import Claim
from dht14.storage.record import Record
from dht14.wire.messages import LargeValue, Nodes, Reply, Value

EVERYBODY = K + 1
"""A quorum that there never is: a read with it hears all near the key, and those that stood in for them."""


@frozen
class Claimer:
    """One that says that it has a record, and the ticket for it."""

    contact: Contact
    ticket: bytes


@define(eq=False)
class Finding:
    """The answers to the FIND_VALUEs of one get."""

    key: int
    ballot: Ballot
    _clock: IReactorTime
    unheard: frozenset[int] = frozenset()
    """Ids of contacts whose claims count for nothing: they could not make one of them true."""
    answers: Answers = field(factory=Answers, init=False)
    """Who has what, for read repair."""
    _claimers: dict[Rank, list[Claimer]] = field(factory=dict, init=False)
    """Who says that it has the record of this rank, the first to say so first."""

    def replied(self, lookup: Walk, contact: Contact, reply: Reply) -> None:
        """One contact answered."""
        if isinstance(reply, Value):
            self._told(lookup, contact, self._record(reply), reply.near)
        elif isinstance(reply, LargeValue):
            self._told(lookup, contact, self._claim(contact, reply), reply.near)
        elif isinstance(reply, Nodes):
            self.answers.lacks(contact)
            lookup.answered(contact, reply.contacts)
        else:
            lookup.refused(contact)

    def claimers(self, claim: Claim) -> list[Claimer]:
        """Who says that it has it: the fastest to answer first."""
        return self._claimers[claim.rank]

    def _told(self, lookup: Walk, contact: Contact, found: Record | Claim | None, near: bool) -> None:
        if found is None:
            lookup.refused(contact)
            return
        self.answers.has(contact, found.rank)
        ballot = self.ballot
        ballot.cast(found, near)
        if ballot.quorum < EVERYBODY:
            lookup.hurry(max(ballot.missing, 0) + 1)
        lookup.answered(contact)
        if ballot.settled:
            lookup.conclude()

    def _record(self, told: Value) -> Record | None:
        now = self._clock.seconds()
        record = Record(self.key, told.value, told.version, now + told.ttl_ms / 1000, told.replication)
        return None if record.is_from_the_future(now) or not record.is_authentic else record

    def _claim(self, contact: Contact, told: LargeValue) -> Claim | None:
        now = self._clock.seconds()
        expires_at = now + told.ttl_ms / 1000
        claim = Claim(
            self.key, told.version, expires_at, told.replication, told.owned, told.length, told.digest
        )
        if contact.node_id in self.unheard or claim.is_from_the_future(now) or not claim.is_possible:
            return None
        self._claimers.setdefault(claim.rank, []).append(Claimer(contact, told.ticket))
        return claim
