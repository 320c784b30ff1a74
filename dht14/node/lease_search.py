"""Gets leases of the nodes nearest to a watched key, and gives them back.

A node that has no lease to give is a holder of the key all the same: writers store there. The next nearest
gives a lease in its place, but may never get the record, so it does not count as one of the group.
"""

from collections.abc import Iterable
from enum import Enum, auto

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, REPLICATION
from dht14.kademlia.subnet_limits import limit_per_subnet
from dht14.node.lookups import Lookups
from dht14.node.ports import CallResult, Rpc
from dht14.node.watch_state import WatchState
from dht14.node.write_quorum import NOT_A_HOLDER
from dht14.records.store import Refusal
from dht14.wire.messages import Refused, Watch, Watching, view_of

LEASE_TIMEOUT = 1.5
"""Seconds after which the next nearest node is asked for a lease."""

MAX_ASKED = 16
"""Nodes that are asked for leases of one key in one renewal."""

MAX_NAMED = 2 * GROUP
"""Nodes near the key that other nodes have named: so many of the nearest are remembered. With more, invented
ones could use up MAX_ASKED."""

LOOKUP_INTERVAL = 120.0
"""Seconds between two lookups of a key whose neighbourhood the routing table does not know."""


class LeaseAnswer(Enum):
    """What a node that was asked for a lease has said."""

    GRANTED = auto()
    DECLINED = auto()
    """It holds the records of the key, and gives no lease."""
    NO_HOLDER = auto()
    """It does not answer, or it holds no records of the key."""


@define(eq=False)
class LeaseRenewal:
    """Whom one renewal of the leases of a key has asked, and what they said."""

    _key: int
    _wanted: int
    """Leases to get."""
    _own_id: int
    _candidates: dict[int, Contact]
    """The nodes nearest to the key that may hold values, by id."""
    _asked: set[int] = field(factory=set, init=False)
    _granted: list[int] = field(factory=list, init=False)
    _declined: list[int] = field(factory=list, init=False)

    def asked(self, contact: Contact) -> None:
        """This node is asked for a lease."""
        self._asked.add(contact.node_id)

    def answered(self, contact: Contact, answer: LeaseAnswer) -> None:
        """This node has answered, or does not."""
        if answer is LeaseAnswer.GRANTED:
            self._granted.append(contact.node_id)
        elif answer is LeaseAnswer.DECLINED:
            self._declined.append(contact.node_id)

    def nearest_left(self, named: dict[int, Contact]) -> Contact | None:
        """Return the nearest node that was not asked yet, among the candidates and those that other nodes
        have `named`; None where there is none, or enough were asked."""
        known = {**named, **self._candidates}
        left = known.keys() - self._asked - {self._own_id}
        return known[min(left, key=self._key.__xor__)] if left and self.asked_count < MAX_ASKED else None

    def is_wanted(self, contact: Contact) -> bool:
        """Whether leases are missing, or this node is nearer to the key than one that has given a lease."""
        nearest = self._nearest(self._granted)
        return len(nearest) < self._wanted or contact.node_id ^ self._key < nearest[-1] ^ self._key

    def _nearest(self, node_ids: list[int]) -> list[int]:
        return sorted(node_ids, key=self._key.__xor__)[: self._wanted]

    @property
    def granted_by_nearest(self) -> int:
        """How many of the `wanted` nearest holders have given a lease."""
        return len(set(self._nearest(self._granted + self._declined)).intersection(self._granted))

    @property
    def asked_count(self) -> int:
        """How many nodes were asked."""
        return len(self._asked)


@define(eq=False)
class LeaseSearch:
    """The search for leases of one key, again and again, until `end`."""

    _state: WatchState
    """Is told of each lease."""
    _lookups: Lookups
    _rpc: Rpc
    _clock: IReactorTime
    _looked_up_at: float = field(default=float("-inf"), init=False)
    _named: dict[int, Contact] = field(factory=dict, init=False)
    """The nearest nodes that lookups and other nodes have named."""
    _is_over: bool = field(default=False, init=False)

    async def run(self, wanted: int) -> tuple[int, int]:
        """Ask until as many as `wanted` have given leases, and nobody is known who is nearer than these.

        Return how many of the `wanted` nearest holders have given one, and how many nodes were asked.
        """
        own_id = self._lookups.table.own_id
        renewal = LeaseRenewal(self._state.key, wanted, own_id, await self._candidates())
        await gatherResults([Deferred.fromCoroutine(self._fill_place(renewal)) for _ in range(wanted)])
        while (contact := renewal.nearest_left(self._named)) is not None and renewal.is_wanted(contact):
            await self._ask(contact, renewal)
        return renewal.granted_by_nearest, renewal.asked_count

    async def _fill_place(self, renewal: LeaseRenewal) -> None:
        """Ask one node after the other, until one gives a lease."""
        while (contact := renewal.nearest_left(self._named)) is not None:
            if await self._ask(contact, renewal) is LeaseAnswer.GRANTED:
                return

    async def _ask(self, contact: Contact, renewal: LeaseRenewal) -> LeaseAnswer:
        renewal.asked(contact)
        answer = await self._answer_of(contact)
        renewal.answered(contact, answer)
        return answer

    def end(self) -> None:
        """Give all leases back, and search no more."""
        self._is_over = True
        for member in self._state.members.values():
            if member.contact.node_id != self._lookups.table.own_id:
                self._give_back(member.contact)

    def _give_back(self, contact: Contact) -> None:
        # If it is lost, the next NOTIFY is refused, or the lease runs out.
        observer = CallResult()
        observer.outcome.addErrback(lambda failure: failure.trap(CallFailed))
        self._rpc.call(contact, Watch(self._state.key, b"", begins=False), observer)

    async def _candidates(self) -> dict[int, Contact]:
        """Return the nodes nearest to the key that may hold values."""
        key, lookups, now = self._state.key, self._lookups, self._clock.seconds()
        table = lookups.table
        is_known = lookups.neighbourhood.knows_region(key, GROUP)
        if not is_known and now - self._looked_up_at >= LOOKUP_INTERVAL:
            self._looked_up_at = now
            lookup = await lookups.find_nodes(key, width=REPLICATION)
            self._named.clear()
            self._name(lookup.shortlist()[:REPLICATION])
        nearest = table.holders(key, 2 * REPLICATION)
        if not is_known:
            nearest = sorted({*nearest, *self._named.values()}, key=lambda one: one.node_id ^ key)
        limited = limit_per_subnet(nearest, table.subnet_of)
        serving = [contact for contact in limited if table.serves_values(contact.node_id)]
        return {contact.node_id: contact for contact in serving[: 2 * REPLICATION]}

    def _name(self, contacts: Iterable[Contact]) -> None:
        """Remember the nearest of these, and of those named before."""
        self._named.update((contact.node_id, contact) for contact in contacts)
        nearest = sorted(self._named, key=self._state.key.__xor__)[:MAX_NAMED]
        self._named = {node_id: self._named[node_id] for node_id in nearest}

    async def _answer_of(self, contact: Contact) -> LeaseAnswer:
        """Ask a node for a lease, and return what it says."""
        state, table = self._state, self._lookups.table
        key = state.key
        if self._is_over:
            return LeaseAnswer.NO_HOLDER
        known = (one.node_id for one in table.holders(key, GROUP))
        view = view_of(sorted((*known, table.own_id), key=key.__xor__)[:GROUP])
        asked = self._rpc.ask(contact, Watch(key, view))
        try:
            reply = await asked.addTimeout(LEASE_TIMEOUT, self._clock)
        except (CallFailed, TimeoutError):
            state.refused(contact.node_id)
            self._named.pop(contact.node_id, None)
            return LeaseAnswer.NO_HOLDER
        if isinstance(reply, Watching) and reply.lease_ms:
            # If the watch is over meanwhile, the lease runs out by itself: another watch may have begun.
            self._name(reply.nearer)
            state.granted(contact, reply.mark, self._clock.seconds() + reply.lease_ms / 1000)
            return LeaseAnswer.GRANTED
        state.refused(contact.node_id)
        if not isinstance(reply, Refused):
            return LeaseAnswer.DECLINED
        table.reported(contact.node_id, reply.reason is not Refusal.NO_VALUES)
        self._name(reply.nearer)
        return LeaseAnswer.NO_HOLDER if reply.reason in NOT_A_HOLDER else LeaseAnswer.DECLINED
