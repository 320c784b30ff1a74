"""All contacts that a lookup has heard of, nearest first, and what became of the calls to them."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable

from attrs import define, field

from dht14.kademlia.candidate import Candidate, CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_SOURCES
from dht14.kademlia.subnet_limits import Subnet, SubnetOf


def _zeros() -> defaultdict[Subnet, int]:
    """Return counts by subnet. Not a `Counter`: every lookup makes two, and most of them count nothing."""
    return defaultdict(int)


@define(eq=False)
class Candidates:
    """The candidates of one lookup for `target`. Every state changes here, and the counts with it."""

    target: int
    own_id: int
    subnet_of: SubnetOf
    asked_ids: set[int]
    """Ids that were asked, by this lookup or by another path of the same `DisjointLookup`."""
    ordered: list[tuple[int, Candidate]] = field(factory=list, init=False)
    """Each candidate with its distance from the target, nearest first."""
    _by_id: dict[int, Candidate] = field(factory=dict, init=False)
    asked_count: int = field(default=0, init=False)
    """Calls made so far."""
    in_flight: int = field(default=0, init=False)
    """Candidates in state ASKED: each holds one of the α slots."""
    unanswered: int = field(default=0, init=False)
    """Candidates in state ASKED or SLOW."""
    failures: defaultdict[Subnet, int] = field(factory=_zeros, init=False)
    """Contacts of each subnet that refused or went silent."""
    reserved: defaultdict[Subnet, int] = field(factory=_zeros, init=False)
    """Contacts of each subnet that were asked and have neither refused nor failed."""

    # Contacts become known

    def heard_of(self, contact: Contact, hops: int = 0, source: Candidate | None = None) -> None:
        """Add a contact that `source` named, `hops` answers away from the start. No source: it is trusted."""
        known = self._by_id.get(contact.node_id)
        if known is not None:
            known.named_again(contact, source)
        elif contact.node_id != self.own_id:
            subnet = self.subnet_of(contact.address[0])
            known = Candidate(contact, hops, subnet, sources=(source,) if source else ())
            self._by_id[contact.node_id] = known
            insort(self.ordered, (contact.node_id ^ self.target, known))

    def begin_with(self, contacts: Iterable[Contact]) -> None:
        """Add contacts that need no source; cheapest if they come nearest first, before all others."""
        ordered, by_id, subnet_of = self.ordered, self._by_id, self.subnet_of
        farthest = ordered[-1][0] if ordered else -1
        for contact in contacts:
            node_id = contact.node_id
            distance = node_id ^ self.target
            if distance <= farthest or node_id == self.own_id:
                self.heard_of(contact)
                continue
            farthest = distance
            candidate = by_id[node_id] = Candidate(contact, 0, subnet_of(contact.address[0]))
            ordered.append((distance, candidate))

    def _named(self, source: Candidate, contacts: Iterable[Contact]) -> None:
        by_id, hops = self._by_id, source.hops + 1
        for contact in contacts:
            # Most contacts in the answers to a lookup are known to it already.
            known = by_id.get(contact.node_id)
            if known is None:
                self.heard_of(contact, hops, source)
            elif len(known.sources) < MAX_SOURCES or known.contact.address != contact.address:
                known.named_again(contact, source)

    def include_self(self, state: CandidateState, votes: bool) -> None:
        """Count this node itself as a candidate in this state."""
        distance = self.own_id ^ self.target
        own = Candidate(Contact(self.own_id, ("", 0)), 0, state=state, votes=votes)
        index = bisect_left(self.ordered, (distance,))
        self.ordered[index : index + self.counts_self] = [(distance, own)]
        self._by_id[self.own_id] = own

    @property
    def counts_self(self) -> bool:
        """Whether this node itself is a candidate."""
        return self.own_id in self._by_id

    # What became of the calls

    def asked(self, candidate: Candidate) -> None:
        """The lookup calls this candidate."""
        candidate.state = CandidateState.ASKED
        self.in_flight += 1
        self.unanswered += 1
        self.asked_count += 1
        self.asked_ids.add(candidate.contact.node_id)
        if (subnet := candidate.subnet) is not None:
            self.reserved[subnet] += 1

    def answered(self, contact: Contact, nearer: Iterable[Contact], votes: bool) -> Candidate:
        """The contact did what it was asked, and named these others."""
        candidate = self.of(contact)
        candidate.votes = votes
        self._met_at(candidate, contact)
        for source in candidate.sources:
            source.doubts -= 1 if candidate.state is CandidateState.ASKED else 2
        self._settle(candidate, CandidateState.ANSWERED)
        self._named(candidate, nearer)
        return candidate

    def declined(self, contact: Contact, state: CandidateState, nearer: Iterable[Contact]) -> None:
        """The contact answered, but did not do what it was asked: it is REFUSED or OUTDATED now."""
        candidate = self.of(contact)
        self._met_at(candidate, contact)
        self._settle(candidate, state)
        self._count_failure(candidate)
        self._release(candidate)
        self._named(candidate, nearer)

    def failed(self, contact: Contact) -> None:
        """The call to the contact has failed for good."""
        candidate = self.of(contact)
        if candidate.contact.address != contact.address:
            return
        if candidate.state is CandidateState.ASKED:
            self._doubt(candidate)
        if candidate.state is not CandidateState.SILENT:
            self._count_failure(candidate)
        self._release(candidate)
        self._settle(candidate, CandidateState.FAILED)
        self._try_other_address(candidate)

    def slow(self, contact: Contact) -> None:
        """The soft timeout of the call has passed."""
        candidate = self.of(contact)
        if candidate.state is CandidateState.ASKED and candidate.contact.address == contact.address:
            self.in_flight -= 1
            candidate.state = CandidateState.SLOW
            self._doubt(candidate)

    def silent(self, contact: Contact) -> None:
        """The contact is presumed dead."""
        self.slow(contact)
        candidate = self.of(contact)
        if candidate.state is CandidateState.SLOW and candidate.contact.address == contact.address:
            self.unanswered -= 1
            candidate.state = CandidateState.SILENT
            self._count_failure(candidate)
            self._try_other_address(candidate)

    def _met_at(self, candidate: Candidate, contact: Contact) -> None:
        if candidate.contact.address != contact.address:
            candidate.subnet = self.subnet_of(contact.address[0])
        candidate.contact = contact

    def _settle(self, candidate: Candidate, state: CandidateState) -> None:
        if candidate.state is CandidateState.ASKED:
            self.in_flight -= 1
        if candidate.state in (CandidateState.ASKED, CandidateState.SLOW):
            self.unanswered -= 1
        candidate.state = state

    @staticmethod
    def _doubt(candidate: Candidate) -> None:
        for source in candidate.sources:
            source.doubts += 1

    def _count_failure(self, candidate: Candidate) -> None:
        if (subnet := candidate.subnet) is not None:
            self.failures[subnet] += 1

    def _release(self, candidate: Candidate) -> None:
        """The candidate will hold nothing. One that is only silent may still say that it does."""
        if (subnet := candidate.subnet) is not None:
            self.reserved[subnet] -= 1

    def _try_other_address(self, candidate: Candidate) -> None:
        if candidate.other_addresses:
            other, *others = candidate.other_addresses
            self._met_at(candidate, other)
            candidate.other_addresses = tuple(others)
            candidate.state = CandidateState.UNASKED
            self.asked_ids.discard(candidate.contact.node_id)

    # Questions

    def of(self, contact: Contact) -> Candidate:
        """Return the candidate of this contact's id. Raises KeyError if the lookup has not heard of it."""
        return self._by_id[contact.node_id]

    @property
    def has_slow(self) -> bool:
        """Whether any candidate is in state SLOW."""
        return self.unanswered > self.in_flight

    def count(self, state: CandidateState) -> int:
        """Return how many candidates are in this state."""
        return sum(candidate.state is state for _, candidate in self.ordered)

    def in_states(self, *states: CandidateState) -> list[Contact]:
        """Return the contacts in these states, nearest first."""
        return [candidate.contact for _, candidate in self.ordered if candidate.state in states]

    def unanswering(self) -> list[Contact]:
        """Return the contacts that were asked and have not answered, nearest first."""
        return self.in_states(
            CandidateState.ASKED, CandidateState.SLOW, CandidateState.SILENT, CandidateState.FAILED
        )
