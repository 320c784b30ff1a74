"""One iterative lookup as a value (paper, section 2.3): whom to ask next, and when the lookup is finished.

A lookup knows no network and no clock. Its driver (`node.lookup_run`) asks the contacts of `take_next()` and
reports the outcome of each call.

Departures from the paper: α calls are kept on the nearest unanswered contacts instead of going in rounds; a
slow contact frees its slot at once, the next nearest is asked as its stand-in, and its late answer still
counts.

Departures for a hostile network: only the two nearest contacts of each subnet count; after four failures in
one subnet no more of it are asked; contacts named by nodes whose contacts do not answer are asked last; a
contact named at several addresses is tried at the next address when it is silent at one.
"""

from collections.abc import Container, Iterable
from enum import Enum

from attrs import define, field

from dht14.kademlia.candidate import Candidate, CandidateState
from dht14.kademlia.candidates import Candidates
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import (
    ALPHA,
    GROUP,
    MAX_ASKED,
    MAX_UNANSWERED,
    NEAR_RTT,
    REPLICATION,
    STAND_INS,
    SUBNET_FAILURES,
    SUBNET_IN_SET,
    K,
)
from dht14.kademlia.subnet_limits import SubnetOf, SubnetQuota, limit_per_subnet, unlimited

_MEMBERS = (
    CandidateState.UNASKED,
    CandidateState.ASKED,
    CandidateState.SLOW,
    CandidateState.ANSWERED,
    CandidateState.OUTDATED,
)
_LISTED = (CandidateState.UNASKED, CandidateState.ASKED, CandidateState.SLOW)
_HOPEFUL = (CandidateState.UNASKED, CandidateState.ASKED, CandidateState.ANSWERED)
_COUNTED = (*_HOPEFUL, CandidateState.SLOW, CandidateState.SILENT)
"""States in which a candidate uses its subnet's quota: the stand-in of a slow one is of another subnet."""


class Purpose(Enum):
    """What the contacts of a lookup are asked for."""

    NODES = "nodes"
    VALUE = "value"
    """The lookup does not end while most of the group are slow."""
    STORE = "store"
    """The same. The contacts asked will hold the record, so of a subnet no more are asked than count."""


@define(eq=False)
class Lookup:
    """The search for the `width` live contacts nearest to `target`.

    `thorough` decides when it may end while a near contact is only slow. A thorough lookup waits until the
    slow have answered or gone silent; while more are silent than have answered, it waits for these too, until
    they answer or fail. Other lookups let the next nearest stand in. A read is thorough until it has seen a
    value: it must not say "not found" because the holders were slow.
    """

    target: int
    own_id: int
    width: int = K
    alpha: int = ALPHA
    thorough: bool = False
    radius: int = 0
    """Contacts within this distance are all sought, whatever their number."""
    purpose: Purpose = Purpose.NODES
    initial_contacts: int = 0
    """The nearest contacts among those it begins with that it asks even if it hears of nearer ones."""
    usual_rtt: float = 0.0
    """The usual round trip to the contacts with which it begins, in seconds."""
    awaits_silent: bool = False
    """Whether it waits for the silent, too, while too few have answered, and more are silent: a large value
    may still be on its way to them. A thorough lookup waits for them in any case."""
    spares: int = 0
    """Contacts to ask beyond the `width`; the driver ends the lookup when enough have done what it needs."""
    max_asked: int = MAX_ASKED
    """Contacts to ask before the lookup gives up."""
    subnet_of: SubnetOf = unlimited
    asked_ids: set[int] = field(factory=set)
    """Ids that were asked, by this lookup or by another path of the same `DisjointLookup`."""
    candidates: Candidates = field(init=False)
    hops: int = field(default=0, init=False)
    """The longest chain of answers that led to an answer."""
    finished: bool = field(default=False, init=False)
    _concluded: bool = field(default=False, init=False)
    _completed: bool = field(default=False, init=False)
    _heard_enough: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.candidates = Candidates(self.target, self.own_id, self.subnet_of, self.asked_ids)

    @property
    def is_far(self) -> bool:
        """Whether its contacts are so far away that a spare call costs less than waiting does."""
        return self.usual_rtt > NEAR_RTT

    @property
    def asked_count(self) -> int:
        """Calls made so far."""
        return self.candidates.asked_count

    @property
    def counts_self(self) -> bool:
        """Whether this node itself is one of the contacts."""
        return self.candidates.counts_self

    # Facts

    def heard_of(self, contacts: Iterable[Contact]) -> None:
        """The lookup begins with these contacts, or a trusted source knows them."""
        self.candidates.begin_with(contacts)

    def include_self(self, state: CandidateState = CandidateState.ANSWERED, votes: bool = True) -> None:
        """Count this node itself as a contact in this state."""
        self.candidates.include_self(state, votes)

    def answered(self, contact: Contact, nearer: Iterable[Contact] = (), votes: bool = True) -> None:
        """The contact answered, and named these others. It `votes` unless it has missed writes."""
        candidate = self.candidates.answered(contact, nearer, votes)
        self.hops = max(self.hops, candidate.hops + 1)

    def refused(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact is alive but does not do what it was asked; others stand in for it."""
        self.candidates.declined(contact, CandidateState.REFUSED, nearer)

    def outdated(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact keeps an older record. Others stand in for it; readers ask it all the same."""
        self.candidates.declined(contact, CandidateState.OUTDATED, nearer)

    def failed(self, contact: Contact) -> None:
        """The call to the contact has failed for good."""
        self.candidates.failed(contact)

    def slow(self, contact: Contact) -> None:
        """The contact's soft timeout passed; it may still answer."""
        self.candidates.slow(contact)

    def silent(self, contact: Contact) -> None:
        """The contact is presumed dead, but may still answer."""
        self.candidates.silent(contact)

    # Commands

    def reduce(self, alpha: int) -> None:
        """Keep at most `alpha` calls in flight from now on, and do not wait for slow contacts."""
        self.alpha, self.thorough = alpha, False

    def heard_enough(self) -> None:
        """Wait for the slow, but not until the silent have failed: enough contacts agree."""
        self._heard_enough = True

    def hedge(self, count: int) -> None:
        """Presume the `count` nearest contacts that have not answered slow: others answered long ago."""
        waiting = self.candidates.in_states(CandidateState.ASKED)
        for contact in waiting[:count]:
            self.candidates.slow(contact)

    def complete(self) -> None:
        """Ask those of the nearest that were not asked yet, and wait for nobody: enough have answered."""
        self._completed = True

    def conclude(self) -> None:
        """Ask nobody else: enough is known."""
        self._concluded = True

    def take_next(self) -> list[Contact]:
        """Return the contacts to ask now; the caller must ask them. Sets `finished`."""
        chosen: list[Contact] = []
        if self._concluded:
            self.finished = True
            return chosen
        if self.candidates.asked_count >= self.max_asked and not self.candidates.in_flight:
            self.finished = True
            return chosen
        settled = self._ask_nearest(chosen, doubtful_too=False)
        if settled and self.thorough:
            settled = self._ask_nearest(chosen, doubtful_too=True)
        self.finished = self._completed or (
            settled and not self._mostly_silent() and not self._awaits_group()
        )
        return chosen

    def _ask_nearest(self, chosen: list[Contact], doubtful_too: bool) -> bool:
        """Ask the nearest candidates and add them to `chosen`. Return whether none is left to wait for."""
        hopeful, initial, width = 0, 0, self.breadth
        if not self._completed:
            width += self.spares
        settled, may_ask = True, self._may_ask()
        # Looked up once: this loop is a tenth of the work of a node that joins.
        take_of, radius = SubnetQuota(self.subnet_of).take_of, self.radius
        unasked, slow, answered = CandidateState.UNASKED, CandidateState.SLOW, CandidateState.ANSWERED
        for distance, candidate in self.candidates.ordered:
            is_far = hopeful >= width and distance > radius
            if is_far and initial >= self.initial_contacts:
                break
            if is_far and candidate.hops:
                continue
            state = candidate.state
            if state is unasked and self._is_passed_over(candidate, doubtful_too):
                continue
            if state is slow and self.thorough:
                settled = False
            if state not in _COUNTED or (candidate.subnet is not None and not take_of(candidate.subnet)):
                continue
            if state not in _HOPEFUL:
                continue
            hopeful += 1
            initial += not candidate.hops
            if state is not answered:
                settled = False
                if not may_ask:
                    return False  # This one is waited for, and whatever follows cannot be asked now.
                if state is unasked:
                    self.candidates.asked(candidate)
                    chosen.append(candidate.contact)
                    may_ask = self._may_ask()
        short = hopeful < width and self.candidates.has_slow
        return settled and not short

    def _is_passed_over(self, candidate: Candidate, doubtful_too: bool) -> bool:
        if candidate.contact.node_id in self.asked_ids:
            return True
        if candidate.sources and not doubtful_too and candidate.is_doubtful:
            return True
        subnet = candidate.subnet
        if subnet is None:
            return False
        is_full = self.purpose is Purpose.STORE and self.candidates.reserved[subnet] >= SUBNET_IN_SET
        return is_full or self.candidates.failures[subnet] >= SUBNET_FAILURES

    def _may_ask(self) -> bool:
        candidates = self.candidates
        return (
            candidates.in_flight < self.alpha
            and candidates.unanswered < max(MAX_UNANSWERED, self.alpha)
            and candidates.asked_count < self.max_asked
        )

    @property
    def breadth(self) -> int:
        """How many nodes are sought. Around nodes that do not vote a writer looks as far as readers
        do: the nodes that vote in their place must have the record."""
        if self.purpose is not Purpose.STORE or self.width >= REPLICATION:
            return self.width
        voteless = sum(not candidate.votes for _, candidate in self.candidates.ordered)
        return min(self.width + voteless, REPLICATION)

    def _mostly_silent(self) -> bool:
        """Whether a lookup that waits for the silent has heard from so few that the network, or the host, may
        be stalled. The answers of those that have missed writes do not count: the silent may have what these
        lack."""
        if self._heard_enough or not (self.thorough or self.awaits_silent):
            return False
        candidates = [candidate for _, candidate in self.candidates.ordered]
        heard = sum(
            candidate.state is CandidateState.ANSWERED and candidate.votes for candidate in candidates
        )
        silent = sum(candidate.state is CandidateState.SILENT for candidate in candidates)
        if self.awaits_silent:
            # Where most of those asked are lost, the copy that a writer keeps for itself does not count.
            return heard < self.breadth and silent > heard - self.candidates.counts_self
        return silent > heard

    # The group

    def group(self) -> list[Candidate]:
        """Return the GROUP nearest candidates that hold values, as far as is known.

        Readers and writers of a key see the same group; a read or write rests on a record that most of it
        has. A slow node stays in the group until it is silent: other nodes may hear it first.
        """
        return self._nearest_members(GROUP)

    def members(self, count: int) -> list[Contact]:
        """Return up to `count` of the nearest contacts that hold values, as far as is known: also those whose
        answer did not count."""
        return [candidate.contact for candidate in self._nearest_members(count)]

    def _nearest_members(self, count: int) -> list[Candidate]:
        members: list[Candidate] = []
        take_of = SubnetQuota(self.subnet_of).take_of
        near, widest, unasked = 0, min(self.breadth, REPLICATION), CandidateState.UNASKED
        for _, candidate in self.candidates.ordered:
            state = candidate.state
            if state not in _MEMBERS:
                continue
            if state is unasked and self._is_passed_over(candidate, doubtful_too=False):
                continue
            if candidate.subnet is not None and not take_of(candidate.subnet):
                continue
            near += 1
            if candidate.votes:
                members.append(candidate)
            if len(members) == count or near == widest:
                break
        return members

    def missing_votes(self, holders: Container[int]) -> int:
        """Return how many more of the group must be among these `holders` before most of it are.

        Candidates farther than one that was not asked yet do not count. The next nearest stand in for slow
        ones, but at most STAND_INS of them: a reader far from the key does not know who is just outside of
        its group, and takes farther nodes for them.
        """
        members = self._nearest_members(GROUP)
        missing = len(members) // 2 + 1
        if self.candidates.has_slow and any(c.state is CandidateState.SLOW for c in members):
            members = self._nearest_members(GROUP + STAND_INS)
        for index, candidate in enumerate(members):
            if candidate.state is CandidateState.UNASKED or (
                index >= GROUP and not self._is_stand_in(members, index)
            ):
                break
            missing -= candidate.contact.node_id in holders
        return missing

    @staticmethod
    def _is_stand_in(members: list[Candidate], index: int) -> bool:
        """Whether enough nearer members are slow for this one to stand in for one of them."""
        slow = sum(candidate.state is CandidateState.SLOW for candidate in members[:index])
        return index - slow < GROUP

    def _awaits_group(self) -> bool:
        """Whether half of the group or more are slow to do what they must do."""
        if self.purpose is Purpose.NODES:
            return False
        group = self.group()
        slow = sum(candidate.state is CandidateState.SLOW for candidate in group)
        return 2 * slow >= len(group) > 0

    # The result

    @property
    def is_suspicious(self) -> bool:
        """Whether the lookup gave up, or was told of contacts that it could not believe in."""
        is_given_up = not self.finished or self.candidates.asked_count >= self.max_asked
        return is_given_up or any(
            candidate.sources and candidate.state is CandidateState.UNASKED and candidate.is_doubtful
            for _, candidate in self.candidates.ordered
        )

    def nearest(self) -> list[Contact]:
        """Return the contacts that answered, nearest first: `width` of them, or all within the radius."""
        found = list(limit_per_subnet(self.candidates.in_states(CandidateState.ANSWERED), self.subnet_of))
        return [c for i, c in enumerate(found) if i < self.width or c.node_id ^ self.target <= self.radius]

    def shortlist(self) -> list[Contact]:
        """Return up to k contacts that answered or may still be asked, nearest first; none in doubt."""
        take_of = SubnetQuota(self.subnet_of).take_of
        listed: list[Contact] = []
        for _, candidate in self.candidates.ordered:
            state = candidate.state
            if state is not CandidateState.ANSWERED and (
                state not in _LISTED or (candidate.sources and candidate.is_doubtful)
            ):
                continue
            if candidate.subnet is None or take_of(candidate.subnet):
                listed.append(candidate.contact)
            if len(listed) == K:
                break
        return listed
