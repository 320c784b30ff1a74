"""One iterative lookup as a value (paper, section 2.3): whom to ask next, and when it is finished.

It knows no network and no clock. Whoever drives it asks the contacts of `due()` and tells what became of
each call. The life of a candidate::

    UNASKED --due--> ASKED --answered--> ANSWERED
                       |--slow--> SLOW --silent--> SILENT      (both may still become ANSWERED)
                       `--failed--> FAILED                     (from SLOW and SILENT too)
                        --refused--> REFUSED                   (answered, but cannot do what was asked)

Departures from the paper: α calls are kept on the nearest unanswered contacts instead of going in rounds;
a slow contact frees its slot at once, the next nearest stands in for it, and its late answer still counts.
"""

from bisect import insort
from collections.abc import Iterable
from enum import Enum

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import ALPHA, MAX_ASKED, MAX_UNANSWERED, K


class State(Enum):
    """How far one candidate of a lookup has got."""

    UNASKED = "unasked"
    ASKED = "asked"
    SLOW = "slow"
    SILENT = "silent"
    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"


_HOPEFUL = (State.UNASKED, State.ASKED, State.ANSWERED)


@define(eq=False)
class Candidate:
    """One contact of the shortlist."""

    contact: Contact
    hops: int
    """Answers that led to it: 0 for those the lookup began with."""
    state: State = State.UNASKED


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
    _order: list[int] = field(factory=list, init=False)
    """Distances of all candidates, sorted."""
    _candidates: dict[int, Candidate] = field(factory=dict, init=False)
    """By distance from the target."""
    _in_flight: int = field(default=0, init=False)
    """Candidates in state ASKED: those that hold one of the α slots."""
    _unanswered: int = field(default=0, init=False)
    """Candidates that may still answer."""
    asked: int = field(default=0, init=False)
    """Contacts asked so far."""
    hops: int = field(default=0, init=False)
    """The longest chain of answers that led to an answer."""
    finished: bool = field(default=False, init=False)
    _concluded: bool = field(default=False, init=False)

    def heard_of(self, contacts: Iterable[Contact], hops: int = 0) -> None:
        """These contacts exist, it is said."""
        for contact in contacts:
            distance = contact.node_id ^ self.target
            if distance not in self._candidates and contact.node_id != self.own_id:
                self._candidates[distance] = Candidate(contact, hops)
                insort(self._order, distance)

    def includes_self(self) -> None:
        """This node itself counts as a contact that has answered."""
        distance = self.own_id ^ self.target
        self._candidates[distance] = Candidate(Contact(self.own_id, ("", 0)), 0, State.ANSWERED)
        insort(self._order, distance)

    @property
    def counts_self(self) -> bool:
        """Whether this node itself is among the candidates."""
        return self.own_id ^ self.target in self._candidates

    def conclude(self) -> None:
        """Enough is known: nobody else needs to be asked."""
        self._concluded = True

    def due(self) -> list[Contact]:
        """The contacts to be asked now; asking them is promised by taking them. Settles `finished`."""
        due: list[Contact] = []
        if self._concluded:
            self.finished = True
            return due
        hopeful = 0
        settled = True
        for distance in self._order:
            candidate = self._candidates[distance]
            if candidate.state not in _HOPEFUL:
                if candidate.state is State.SLOW and self.thorough:
                    settled = False
                continue
            hopeful += 1
            if candidate.state is not State.ANSWERED:
                settled = False
                if candidate.state is State.UNASKED and self._may_ask():
                    self._ask(candidate)
                    due.append(candidate.contact)
            if hopeful == self.width:
                break
        exhausted = self.asked >= MAX_ASKED and not self._in_flight
        short = hopeful < self.width and any(c.state is State.SLOW for c in self._candidates.values())
        self.finished = (settled and not short and not self._mostly_silent()) or exhausted
        return due

    def _mostly_silent(self) -> bool:
        """Whether a thorough lookup has heard from so few that the network, or the host, may be standing still."""
        return self.thorough and self.count(State.SILENT) > self.count(State.ANSWERED)

    def _may_ask(self) -> bool:
        return (
            self._in_flight < self.alpha
            and self._unanswered < max(MAX_UNANSWERED, self.alpha)
            and self.asked < MAX_ASKED
        )

    def _ask(self, candidate: Candidate) -> None:
        candidate.state = State.ASKED
        self._in_flight += 1
        self._unanswered += 1
        self.asked += 1

    def answered(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact answered, and named these others."""
        candidate = self._settle(contact, State.ANSWERED)
        self.hops = max(self.hops, candidate.hops + 1)
        self.heard_of(nearer, candidate.hops + 1)

    def refused(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """The contact is alive but does not do what it was asked; others stand in for it."""
        candidate = self._settle(contact, State.REFUSED)
        self.heard_of(nearer, candidate.hops + 1)

    def failed(self, contact: Contact) -> None:
        """The contact will not answer any more."""
        self._settle(contact, State.FAILED)

    def slow(self, contact: Contact) -> None:
        """The contact's soft timeout passed; it may still answer."""
        candidate = self._of(contact)
        if candidate.state is State.ASKED:
            self._in_flight -= 1
            candidate.state = State.SLOW

    def silent(self, contact: Contact) -> None:
        """The contact is taken for dead, but may still answer."""
        self.slow(contact)
        candidate = self._of(contact)
        if candidate.state is State.SLOW:
            self._unanswered -= 1
            candidate.state = State.SILENT

    def _settle(self, contact: Contact, state: State) -> Candidate:
        candidate = self._of(contact)
        if candidate.state is State.ASKED:
            self._in_flight -= 1
        if candidate.state in (State.ASKED, State.SLOW):
            self._unanswered -= 1
        candidate.state = state
        return candidate

    def _of(self, contact: Contact) -> Candidate:
        return self._candidates[contact.node_id ^ self.target]

    def nearest(self) -> list[Contact]:
        """Up to `width` contacts that answered, nearest first."""
        return self._in_states(State.ANSWERED)[: self.width]

    def shortlist(self) -> list[Contact]:
        """Up to k contacts that answered or may be asked yet, nearest first."""
        return self._in_states(State.ANSWERED, State.UNASKED, State.ASKED, State.SLOW)[:K]

    def unanswering(self) -> list[Contact]:
        """The contacts that were asked and have not answered."""
        return self._in_states(State.ASKED, State.SLOW, State.SILENT, State.FAILED)

    def count(self, state: State) -> int:
        """How many candidates are in this state."""
        return sum(candidate.state is state for candidate in self._candidates.values())

    def _in_states(self, *states: State) -> list[Contact]:
        ordered = (self._candidates[distance] for distance in self._order)
        return [candidate.contact for candidate in ordered if candidate.state in states]
