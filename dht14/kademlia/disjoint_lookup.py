"""A lookup over several disjoint paths, for a key beside which an attacker seems to have put nodes.

One path sees only what the nodes it asks want it to see. Each path here begins with other contacts, asks none
that another path has asked, and hears only of contacts that its own contacts name. So an attacker that
controls one path controls no more than that (S/Kademlia, section 4.4). Together they seek all nodes within
the radius.

Departure from S/Kademlia: a path does not follow the nearest contacts alone. One hostile contact that names
enough accomplices would end it, so it also asks several of the contacts that it begins with.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice

from attrs import define, field

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import INITIAL_CONTACTS, MAX_ASKED, PATHS, REGION_NODES, K
from dht14.kademlia.subnet_limits import SubnetOf, limit_per_subnet


@define(eq=False)
class DisjointLookup:
    """Has the methods of a `Lookup`, and passes each fact to the path that has asked the contact."""

    target: int
    width: int
    """The fewest nodes that each path seeks."""
    radius: int
    subnet_of: SubnetOf
    _paths: list[Lookup]
    _path_of: dict[int, Lookup] = field(factory=dict, init=False)
    """The path that has asked a contact, by the contact's id."""
    _changed: list[Lookup] = field(init=False)
    """The paths that have learned something since `take_next`: at first, all of them."""
    finished: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._changed = list(self._paths)

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
        """Return a lookup whose paths begin with the `known` contacts, dealt out in turn."""
        asked_ids: set[int] = set()
        paths = []
        for number in range(PATHS):
            path = Lookup(
                target,
                own_id,
                width,
                thorough=True,
                radius=radius,
                initial_contacts=INITIAL_CONTACTS,
                max_asked=2 * MAX_ASKED // PATHS,
                subnet_of=subnet_of,
                asked_ids=asked_ids,
            )
            path.heard_of(known[number::PATHS])
            paths.append(path)
        return cls(target, width, radius, subnet_of, paths)

    @property
    def hops(self) -> int:
        """As `Lookup.hops`."""
        return max(path.hops for path in self._paths)

    @property
    def asked_count(self) -> int:
        """As `Lookup.asked_count`."""
        return sum(path.asked_count for path in self._paths)

    @property
    def counts_self(self) -> bool:
        """As `Lookup.counts_self`: never."""
        return False

    def take_next(self) -> list[Contact]:
        """As `Lookup.take_next`."""
        chosen: list[Contact] = []
        changed, self._changed = self._changed, []
        for path in dict.fromkeys(changed):
            contacts = path.take_next()
            self._path_of.update((contact.node_id, path) for contact in contacts)
            chosen += contacts
        self.finished = all(path.finished for path in self._paths)
        return chosen

    @property
    def is_suspicious(self) -> bool:
        """As `Lookup.is_suspicious`: whether all of its paths are."""
        return all(path.is_suspicious for path in self._paths)

    def reduce(self, alpha: int) -> None:
        """As `Lookup.reduce`, for each path."""
        self._changed = list(self._paths)
        for path in self._paths:
            path.reduce(alpha)

    def heard_enough(self) -> None:
        """As `Lookup.heard_enough`, for each path."""
        self._changed = list(self._paths)
        for path in self._paths:
            path.heard_enough()

    def conclude(self) -> None:
        """As `Lookup.conclude`."""
        self._changed = list(self._paths)
        for path in self._paths:
            path.conclude()

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
        """Return the contacts that answered, nearest first: all within the radius and at least `width`, but
        at most REGION_NODES."""
        answered = self._merged(path.candidates.in_states(CandidateState.ANSWERED) for path in self._paths)
        chosen = list(islice(limit_per_subnet(answered, self.subnet_of), REGION_NODES))
        return [c for i, c in enumerate(chosen) if i < self.width or c.node_id ^ self.target <= self.radius]

    def shortlist(self) -> list[Contact]:
        """As `Lookup.shortlist`, of all paths."""
        merged = self._merged(path.shortlist() for path in self._paths)
        return list(islice(limit_per_subnet(merged, self.subnet_of), K))

    def members(self, count: int) -> list[Contact]:
        """As `Lookup.members`, of all paths."""
        merged = self._merged(path.members(count) for path in self._paths)
        return list(islice(limit_per_subnet(merged, self.subnet_of), count))

    def _merged(self, lists: Iterable[list[Contact]]) -> Iterator[Contact]:
        """Yield each contact once, nearest first."""
        ordered = merge(*lists, key=lambda contact: contact.node_id ^ self.target)
        return (next(same) for _, same in groupby(ordered, key=lambda contact: contact.node_id))
