"""One iterative lookup as a value (paper, section 2.3): whom to ask next, and when it is finished.

It knows no network and no clock. Whoever drives it asks the contacts of `take_next()` and tells what became of
each call.

Departures from the paper: α calls are kept on the nearest unanswered contacts instead of going in rounds;
a slow contact frees its slot at once, the next nearest stands in for it, and its late answer still counts.

Departures for the sake of a hostile network: of each subnet only the two nearest count, and who has been let
down by four of it asks no more of them; whose named contacts do not answer is believed last; a contact that
was named at several addresses is tried at the next when it is silent at one.
"""

from bisect import insort
from collections import Counter
from collections.abc import Container, Iterable
from enum import Enum

from attrs import define, field

from dht14.kademlia.candidate import Candidate, CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import (
    ALPHA,
    GROUP,
    MAX_ASKED,
    MAX_OTHER_ADDRESSES,
    MAX_SOURCES,
    MAX_UNANSWERED,
    REPLICATION,
    STAND_INS,
    SUBNET_FAILURES,
    SUBNET_IN_SET,
    K,
)
from dht14.kademlia.subnet_limits import Subnet, SubnetOf, SubnetQuota, limit_per_subnet, unlimited

_MEMBERS = (
    CandidateState.UNASKED,
    CandidateState.ASKED,
    CandidateState.SLOW,
    CandidateState.ANSWERED,
    CandidateState.OUTDATED,
)
_HOPEFUL = (CandidateState.UNASKED, CandidateState.ASKED, CandidateState.ANSWERED)
_COUNTED = (*_HOPEFUL, CandidateState.SLOW, CandidateState.SILENT)
"""Those that hold one of the places of their subnet: what stands in for a slow one comes from elsewhere."""


class Purpose(Enum):
    """What is asked of the contacts of a lookup."""

    NODES = "nodes"
    VALUE = "value"
    """It does not end while most of the group are slow."""
    STORE = "store"
    """The same; and those that are asked shall hold something: no more of a subnet are asked than count."""


@define(eq=False)
class Lookup:
    """The search for the `width` live contacts nearest to `target`.

    `thorough` tells when it may end while a near contact is merely slow: a thorough one waits until the
    slow have answered or gone silent, the other lets the next nearest stand in; and where more are silent than
    have answered, it waits for these too, until they answer or fail. A read is thorough until it has seen a
    value: "not found" must not be said because the holders were slow.
    """

    target: int
    own_id: int
    width: int = K
    alpha: int = ALPHA
    thorough: bool = False
    radius: int = 0
    """All within this distance are sought, however many there are."""
    purpose: Purpose = Purpose.NODES
    max_asked: int = MAX_ASKED
    """Contacts to ask before it is given up."""
    subnet_of: SubnetOf = unlimited
    asked_ids: set[int] = field(factory=set)
    """The ids that were asked, by this lookup and by its siblings (`kademlia.paths`)."""
    _order: list[int] = field(factory=list, init=False)
    """Distances of all candidates, sorted."""
    _candidates: dict[int, Candidate] = field(factory=dict, init=False)
    """By distance from the target."""
    _in_flight: int = field(default=0, init=False)
    """Candidates in state ASKED: those that hold one of the α slots."""
    _unanswered: int = field(default=0, init=False)
    """Candidates that may still answer."""
    asked_count: int = field(default=0, init=False)
    """Contacts asked so far."""
    hops: int = field(default=0, init=False)
    """The longest chain of answers that led to an answer."""
    finished: bool = field(default=False, init=False)
    _concluded: bool = field(default=False, init=False)
    _failures: Counter[Subnet] = field(factory=Counter, init=False)
    """Contacts of each subnet that refused or went silent."""
    _bound: Counter[Subnet] = field(factory=Counter, init=False)
    """Contacts of each subnet that were asked and did neither."""

    def heard_of(self, contacts: Iterable[Contact]) -> None:
        """The lookup begins with these contacts, or somebody whose word is not weighed knows them."""
        for contact in contacts:
            self._heard_of(contact, 0)

    def _heard_of(self, contact: Contact, hops: int, namer: Candidate | None = None) -> None:
        distance = contact.node_id ^ self.target
        known = self._candidates.get(distance)
        if known is None:
            if contact.node_id == self.own_id:
                return
            known = self._candidates[distance] = Candidate(contact, hops)
            insort(self._order, distance)
            known.sources = [namer] if namer else []
        elif namer is not None and 0 < len(known.sources) < MAX_SOURCES and namer not in known.sources:
            known.sources.append(namer)
        if known.contact.address != contact.address and len(known.other_addresses) < MAX_OTHER_ADDRESSES:
            known.other_addresses.append(contact)

    def _named(self, namer: Candidate, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            self._heard_of(contact, namer.hops + 1, namer)

    def includes_self(self, state: CandidateState = CandidateState.ANSWERED, votes: bool = True) -> None:
        """This node itself counts as a contact that has answered, or as one that is `state`."""
        distance = self.own_id ^ self.target
        if distance not in self._candidates:
            insort(self._order, distance)
        self._candidates[distance] = Candidate(Contact(self.own_id, ("", 0)), 0, state, votes=votes)

    @property
    def counts_self(self) -> bool:
        """Whether this node itself is among the candidates."""
        return self.own_id ^ self.target in self._candidates

    def reduce(self, alpha: int) -> None:
        """So many calls at once will do now, and the slow need not be waited for."""
        self.alpha, self.thorough = alpha, False

    @property
    def is_suspicious(self) -> bool:
        """Whether it had to be given up, or heard of contacts that it could not believe in."""
        is_given_up = not self.finished or self.asked_count >= self.max_asked
        return is_given_up or any(
            candidate.state is CandidateState.UNASKED and candidate.is_doubtful
            for candidate in self._candidates.values()
        )

    def conclude(self) -> None:
        """Enough is known: nobody else needs to be asked."""
        self._concluded = True

    def take_next(self) -> list[Contact]:
        """The contacts to be asked now; asking them is promised by taking them. Settles `finished`."""
        chosen: list[Contact] = []
        if self._concluded:
            self.finished = True
            return chosen
        if self.asked_count >= self.max_asked and not self._in_flight:
            self.finished = True
            return chosen
        settled = self._walk(chosen, doubtful_too=False)
        if settled and self.thorough:
            settled = self._walk(chosen, doubtful_too=True)
        self.finished = settled and not self._mostly_silent() and not self._awaits_group()
        return chosen

    # The group

    def group(self) -> list[Candidate]:
        """The GROUP nearest candidates that hold values, as far as is known: readers and writers of a key have
        the same, and most of it must have a record that a write or a read rests on.

        A slow one is in it until it is silent: it may be what others hear first.
        """
        return self._nearest_members(GROUP)

    def _nearest_members(self, count: int) -> list[Candidate]:
        members: list[Candidate] = []
        take = SubnetQuota(self.subnet_of).take
        near, widest = 0, min(self._breadth(), REPLICATION)
        for distance in self._order:
            candidate = self._candidates[distance]
            state = candidate.state
            if state not in _MEMBERS:
                continue
            if state is CandidateState.UNASKED and self._is_passed_over(candidate, doubtful_too=False):
                continue
            if not take(candidate.contact):
                continue
            near += 1
            if candidate.votes:
                members.append(candidate)
            if len(members) == count or near == widest:
                break
        return members

    def _breadth(self) -> int:
        """How many nodes are sought. Of those that do not vote a writer goes beyond, as far as readers do: whoever
        votes in their place must have the record."""
        if self.purpose is not Purpose.STORE or self.width >= REPLICATION:
            return self.width
        votes = (candidate.votes for candidate in self._candidates.values())
        return min(self.width + sum(not vote for vote in votes), REPLICATION)

    def missing_votes(self, holders: Container[int]) -> int:
        """How many more of the group must be among these `holders` before most of it are. Who is farther than a
        candidate that was not asked yet does not count.

        For slow ones the next nearest stand in, but no more than STAND_INS of them: a reader that is far from the key
        does not know who is just outside of its group, and takes those that are farther for them.
        """
        members = self._nearest_members(GROUP + STAND_INS)
        missing = min(len(members), GROUP) // 2 + 1
        for place, candidate in enumerate(members):
            if candidate.state is CandidateState.UNASKED or (
                place >= GROUP and not self._has_slow(members, place)
            ):
                break
            missing -= candidate.contact.node_id in holders
        return missing

    @staticmethod
    def _has_slow(members: list[Candidate], place: int) -> bool:
        """Whether somebody must be stood in for at this place behind the group."""
        slow = sum(candidate.state is CandidateState.SLOW for candidate in members[:place])
        return place - slow < GROUP

    def _awaits_group(self) -> bool:
        """Whether most of the group are slow to do what they shall do."""
        if self.purpose is Purpose.NODES:
            return False
        group = self.group()
        slow = sum(candidate.state is CandidateState.SLOW for candidate in group)
        return 2 * slow >= len(group) > 0

    def _walk(self, chosen: list[Contact], doubtful_too: bool) -> bool:
        """Ask whom there is to ask, from the nearest on; whether there is nobody left to wait for."""
        hopeful, width = 0, self._breadth()
        settled = True
        places = SubnetQuota(self.subnet_of)
        for distance in self._order:
            if hopeful >= width and distance > self.radius:
                break
            candidate = self._candidates[distance]
            state = candidate.state
            if state is CandidateState.UNASKED and self._is_passed_over(candidate, doubtful_too):
                continue
            if state is CandidateState.SLOW and self.thorough:
                settled = False
            if state not in _COUNTED or not places.take(candidate.contact) or state not in _HOPEFUL:
                continue
            hopeful += 1
            if state is not CandidateState.ANSWERED:
                settled = False
                if state is CandidateState.UNASKED and self._may_ask():
                    self._ask(candidate)
                    chosen.append(candidate.contact)
        short = hopeful < width and any(c.state is CandidateState.SLOW for c in self._candidates.values())
        return settled and not short

    def _is_passed_over(self, candidate: Candidate, doubtful_too: bool) -> bool:
        if candidate.contact.node_id in self.asked_ids:
            return True
        if candidate.is_doubtful and not doubtful_too:
            return True
        subnet = self._subnet_of(candidate)
        if subnet is None:
            return False
        is_full = self.purpose is Purpose.STORE and self._bound[subnet] >= SUBNET_IN_SET
        return is_full or self._failures[subnet] >= SUBNET_FAILURES

    def _subnet_of(self, candidate: Candidate) -> Subnet | None:
        return self.subnet_of(candidate.contact.address[0])

    def _mostly_silent(self) -> bool:
        """Whether a thorough lookup has heard from so few that the network, or the host, may be standing still."""
        return self.thorough and self.count(CandidateState.SILENT) > self.count(CandidateState.ANSWERED)

    def _may_ask(self) -> bool:
        return (
            self._in_flight < self.alpha
            and self._unanswered < max(MAX_UNANSWERED, self.alpha)
            and self.asked_count < self.max_asked
        )

    def _ask(self, candidate: Candidate) -> None:
        candidate.state = CandidateState.ASKED
        self._in_flight += 1
        self._unanswered += 1
        self.asked_count += 1
        self.asked_ids.add(candidate.contact.node_id)
        if (subnet := self._subnet_of(candidate)) is not None:
            self._bound[subnet] += 1

    def answered(self, contact: Contact, nearer: Iterable[Contact] = (), votes: bool = True) -> None:
        """The contact answered, and named these others. It `votes` unless it has missed writes."""
        candidate = self._of(contact)
        candidate.votes = votes
        candidate.contact = contact
        for namer in candidate.sources:
            namer.doubts -= 1 if candidate.state is CandidateState.ASKED else 2
        self._settle(candidate, CandidateState.ANSWERED)
        self.hops = max(self.hops, candidate.hops + 1)
        self._named(candidate, nearer)

    def refused(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact is alive but does not do what it was asked; others stand in for it."""
        self._turned_down(contact, CandidateState.REFUSED, nearer)

    def outdated(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact does not hold the record, but keeps an older one; others stand in for it, and readers will
        hear it all the same."""
        self._turned_down(contact, CandidateState.OUTDATED, nearer)

    def _turned_down(self, contact: Contact, state: CandidateState, nearer: Iterable[Contact]) -> None:
        candidate = self._of(contact)
        candidate.contact = contact
        self._settle(candidate, state)
        self._let_down(candidate)
        self._free_place(candidate)
        self._named(candidate, nearer)

    def failed(self, contact: Contact) -> None:
        """The contact will not answer any more."""
        candidate = self._of(contact)
        if candidate.contact.address != contact.address:
            return
        if candidate.state is CandidateState.ASKED:
            self._doubt(candidate)
        if candidate.state is not CandidateState.SILENT:
            self._let_down(candidate)
        self._free_place(candidate)
        self._settle(candidate, CandidateState.FAILED)
        self._try_other_address(candidate)

    def slow(self, contact: Contact) -> None:
        """The contact's soft timeout passed; it may still answer."""
        candidate = self._of(contact)
        if candidate.state is CandidateState.ASKED and candidate.contact.address == contact.address:
            self._in_flight -= 1
            candidate.state = CandidateState.SLOW
            self._doubt(candidate)

    def silent(self, contact: Contact) -> None:
        """The contact is taken for dead, but may still answer."""
        self.slow(contact)
        candidate = self._of(contact)
        if candidate.state is CandidateState.SLOW and candidate.contact.address == contact.address:
            self._unanswered -= 1
            candidate.state = CandidateState.SILENT
            self._let_down(candidate)
            self._try_other_address(candidate)

    def _settle(self, candidate: Candidate, state: CandidateState) -> None:
        if candidate.state is CandidateState.ASKED:
            self._in_flight -= 1
        if candidate.state in (CandidateState.ASKED, CandidateState.SLOW):
            self._unanswered -= 1
        candidate.state = state

    @staticmethod
    def _doubt(candidate: Candidate) -> None:
        for namer in candidate.sources:
            namer.doubts += 1

    def _let_down(self, candidate: Candidate) -> None:
        if (subnet := self._subnet_of(candidate)) is not None:
            self._failures[subnet] += 1

    def _free_place(self, candidate: Candidate) -> None:
        """It will hold nothing. One that is merely silent may yet say that it does."""
        if (subnet := self._subnet_of(candidate)) is not None:
            self._bound[subnet] -= 1

    def _try_other_address(self, candidate: Candidate) -> None:
        if candidate.other_addresses:
            candidate.contact = candidate.other_addresses.pop(0)
            candidate.state = CandidateState.UNASKED
            self.asked_ids.discard(candidate.contact.node_id)

    def _of(self, contact: Contact) -> Candidate:
        return self._candidates[contact.node_id ^ self.target]

    def nearest(self) -> list[Contact]:
        """The contacts that answered, nearest first: `width` of them, or all within the radius."""
        found = list(limit_per_subnet(self.in_states(CandidateState.ANSWERED), self.subnet_of))
        return [c for i, c in enumerate(found) if i < self.width or c.node_id ^ self.target <= self.radius]

    def shortlist(self) -> list[Contact]:
        """Up to k contacts that answered or may be asked yet, nearest first, few of a subnet; none in doubt."""
        listed = self.in_states(
            CandidateState.ANSWERED, CandidateState.UNASKED, CandidateState.ASKED, CandidateState.SLOW
        )
        hopeful = (
            c for c in listed if not self._of(c).is_doubtful or self._of(c).state is CandidateState.ANSWERED
        )
        return list(limit_per_subnet(hopeful, self.subnet_of))[:K]

    def unanswering(self) -> list[Contact]:
        """The contacts that were asked and have not answered."""
        return self.in_states(
            CandidateState.ASKED, CandidateState.SLOW, CandidateState.SILENT, CandidateState.FAILED
        )

    def count(self, state: CandidateState) -> int:
        """How many candidates are in this state."""
        return sum(candidate.state is state for candidate in self._candidates.values())

    def in_states(self, *states: CandidateState) -> list[Contact]:
        """The contacts in these states, nearest first."""
        ordered = (self._candidates[distance] for distance in self._order)
        return [candidate.contact for candidate in ordered if candidate.state in states]
