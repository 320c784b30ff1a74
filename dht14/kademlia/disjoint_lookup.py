"""A lookup over several paths that ask nobody twice, for a key beside which somebody has put nodes.

One path sees what those it asks want it to see. Each of these begins with other contacts, and hears only of
those that its own contacts name; whoever controls one of them controls no more than that (S/Kademlia,
section 4.4). Together they seek everybody within the radius.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice

from attrs import define, field

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import MAX_ASKED, PATHS, REGION_NODES, K
from dht14.kademlia.subnet_limits import SubnetOf, limit_per_subnet


@define(eq=False)
class DisjointLookup:
    """Has the verbs of a `Lookup`, and tells each of them to the path that the contact is on."""

    target: int
    width: int
    """Nodes that each path seeks at the least."""
    radius: int
    subnet_of: SubnetOf
    _lookups: list[Lookup]
    _path_of: dict[int, Lookup] = field(factory=dict, init=False)
    """The path that has asked a contact, by the contact's id."""
    _changed: list[Lookup] = field(init=False)
    """The paths that have learned something since they were last looked at: at first, all of them."""
    finished: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._changed = list(self._lookups)

    def _path(self, contact: Contact) -> Lookup:
        path = self._path_of[contact.node_id]
        self._changed.append(path)
        return path

    @classmethod
    def of(
        cls,
        target: int,
        own_id: int,
        known: Sequence[Contact],
        width: int,
        radius: int,
        subnet_of: SubnetOf,
    ) -> "DisjointLookup":
        """Paths that begin with the `known` contacts, dealt out in turn."""
        asked_ids: set[int] = set()
        lookups = []
        for number in range(PATHS):
            lookup = Lookup(
                target,
                own_id,
                width,
                thorough=True,
                radius=radius,
                max_asked=2 * MAX_ASKED // PATHS,
                subnet_of=subnet_of,
                asked_ids=asked_ids,
            )
            lookup.heard_of(known[number::PATHS])
            lookups.append(lookup)
        return cls(target, width, radius, subnet_of, lookups)

    @property
    def hops(self) -> int:
        """As `Lookup.hops`."""
        return max(lookup.hops for lookup in self._lookups)

    def take_next(self) -> list[Contact]:
        """As `Lookup.take_next`."""
        chosen: list[Contact] = []
        told, self._changed = self._changed, []
        for lookup in dict.fromkeys(told):
            asked = lookup.take_next()
            self._path_of.update((contact.node_id, lookup) for contact in asked)
            chosen += asked
        self.finished = all(lookup.finished for lookup in self._lookups)
        return chosen

    @property
    def is_suspicious(self) -> bool:
        """As `Lookup.is_suspicious`: whether all of its paths were."""
        return all(lookup.is_suspicious for lookup in self._lookups)

    def reduce(self, alpha: int) -> None:
        """As `Lookup.reduce`, for each path."""
        self._changed = list(self._lookups)
        for lookup in self._lookups:
            lookup.reduce(alpha)

    def conclude(self) -> None:
        """As `Lookup.conclude`."""
        self._changed = list(self._lookups)
        for lookup in self._lookups:
            lookup.conclude()

    def answered(self, contact: Contact, nearer: Iterable[Contact] = (), votes: bool = True) -> None:
        """As `Lookup.answered`."""
        self._path(contact).answered(contact, nearer, votes)

    def refused(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """As `Lookup.refused`."""
        self._path(contact).refused(contact, nearer)

    def outdated(self, contact: Contact, nearer: Iterable[Contact] = ()) -> None:
        """As `Lookup.outdated`."""
        self._path(contact).outdated(contact, nearer)

    def failed(self, contact: Contact) -> None:
        """As `Lookup.failed`."""
        self._path(contact).failed(contact)

    def slow(self, contact: Contact) -> None:
        """As `Lookup.slow`."""
        self._path(contact).slow(contact)

    def silent(self, contact: Contact) -> None:
        """As `Lookup.silent`."""
        self._path(contact).silent(contact)

    def nearest(self) -> list[Contact]:
        """Those that answered, nearest first: all within the radius, `width` at the least, within bounds."""
        answered = self._merged(
            lookup.candidates.in_states(CandidateState.ANSWERED) for lookup in self._lookups
        )
        chosen = list(islice(limit_per_subnet(answered, self.subnet_of), REGION_NODES))
        return [c for i, c in enumerate(chosen) if i < self.width or c.node_id ^ self.target <= self.radius]

    def shortlist(self) -> list[Contact]:
        """As `Lookup.shortlist`, of all paths."""
        merged = self._merged(lookup.shortlist() for lookup in self._lookups)
        return list(islice(limit_per_subnet(merged, self.subnet_of), K))

    def _merged(self, lists: Iterable[list[Contact]]) -> Iterator[Contact]:
        """Each contact once, nearest first."""
        ordered = merge(*lists, key=lambda contact: contact.node_id ^ self.target)
        return (next(same) for _, same in groupby(ordered, key=lambda contact: contact.node_id))
