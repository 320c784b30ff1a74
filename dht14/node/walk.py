"""Walks the network for an operator: asks each node that it hears of, once, and slowly.

Each node names the contacts nearest to a random id that it knows. Random ids reach every corner: a node is in
about as many tables as it has contacts itself, so that K nodes name it on average. Neither the walk nor those
who name contacts that do not exist can make it an attack: it sends few requests a second, ends, and asks only
some nodes of each subnet. Nor can they hide a subnet by naming what does not exist there: nodes that answer
are counted apart from those that do not, and who names nodes has only a share of the places of each subnet.
"""

import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import random_id
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.ports import Rpc
from dht14.node.timers import cancel_timer
from dht14.security.subnets import Party, parties_of
from dht14.wire.messages import Describe, Described, FindNode, Nodes

WALK_RATE = 25.0
"""Nodes that are asked per second. Each gets two requests."""

MAX_UNDER_WAY = 64
"""Nodes that are asked at once: dead ones take the hard timeout."""

MAX_WALK = 10_000
"""Nodes of one walk."""

MAX_OF_PARTY = 64
"""Nodes of one host, or of one subnet where subnets tell something, that are asked and do not answer; and as
many that do. Private ranges are different: there a test can have all its nodes on one host."""

MAX_NAMED = 16
"""Nodes of one party that do not answer, named by nodes of one other party. Honest ones know ten of a
subnet."""

WALK_TIMEOUT = 600.0
"""Seconds after which a walk ends."""


@frozen(kw_only=True)
class VisitedNode:
    """What a walk found out about one node."""

    contact: Contact
    seconds: float | None
    """The round trip; None if it did not answer."""
    software: str | None = None
    """What it says that it runs; None if it did not answer."""
    holds_values: bool | None = None
    """None if it did not answer."""
    named: int = 0
    """Contacts in its answer."""


@define(eq=False, kw_only=True)
class NetworkWalk:
    """One walk."""

    _table: RoutingTable
    _rpc: Rpc
    _clock: IReactorTime
    _rng: random.Random
    _limit: int
    """Nodes that are asked."""
    _left_out: set[int] = field(factory=set, init=False)
    _heard_of: set[int] = field(factory=set, init=False)
    _due: "deque[Contact]" = field(factory=deque, init=False)
    _silent: Counter[Party] = field(factory=Counter, init=False)
    """Nodes of each party that have not answered, or not yet."""
    _answered: Counter[Party] = field(factory=Counter, init=False)
    _named: Counter[tuple[Party, Party]] = field(factory=Counter, init=False)
    """Of the silent ones: by which party they were named, and of which they are."""
    _namers: dict[int, Party] = field(factory=dict, init=False)
    """Which party has named a node."""
    _asked: int = field(default=0, init=False)
    _under_way: "set[Deferred[None]]" = field(factory=set, init=False)
    _visited: "deque[VisitedNode]" = field(factory=deque, init=False)
    _waiting: "Deferred[None] | None" = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    @property
    def left_out(self) -> int:
        """Nodes that were not asked: too many of one party."""
        return len(self._left_out)

    @property
    def unasked(self) -> int:
        """Nodes that were named and not asked, because the walk was at its limit or at its end."""
        return len(self._due)

    async def nodes(self) -> AsyncGenerator[VisitedNode, None]:
        """Yield each node when its answer has come, or will not come any more."""
        self._heard_of.add(self._table.own_id)
        self._hear_of(self._table.contacts(), None)
        began_at = next_at = self._clock.seconds()
        try:
            while True:
                now = self._clock.seconds()
                in_time = now < began_at + WALK_TIMEOUT
                if in_time and self._has_next() and now >= next_at:
                    self._ask(self._due.popleft())
                    next_at = now + 1 / WALK_RATE
                while self._visited:
                    yield self._visited.popleft()
                if in_time and self._has_next():
                    await self._wait(next_at - self._clock.seconds())
                elif self._under_way:
                    await self._wait(WALK_TIMEOUT)
                else:
                    return
        finally:
            cancel_timer(self._timer)
            for asking in list(self._under_way):
                # Nobody waits for it any more.
                asking.addErrback(lambda failure: failure.trap(CancelledError))
                asking.cancel()

    def _has_next(self) -> bool:
        return bool(self._due) and self._asked < self._limit and len(self._under_way) < MAX_UNDER_WAY

    def _hear_of(self, contacts: Iterable[Contact], namer: Contact | None) -> None:
        """`namer`: None for the contacts of this node, which have answered it."""
        for contact in contacts:
            if contact.node_id in self._heard_of or len(self._heard_of) > 2 * MAX_WALK:
                continue
            parties = parties_of(contact.address[0])
            by = parties_of(namer.address[0])[-1] if namer is not None else None
            if by is not None and len(parties) > 1 and not self._has_place(parties, by):
                # It can get a place when somebody else names it.
                if len(self._left_out) < 2 * MAX_WALK:
                    self._left_out.add(contact.node_id)
                continue
            self._left_out.discard(contact.node_id)
            self._heard_of.add(contact.node_id)
            self._silent.update(parties)
            if by is not None:
                self._namers[contact.node_id] = by
                self._named.update((by, party) for party in parties)
            self._due.append(contact)

    def _has_place(self, parties: tuple[Party, ...], by: Party) -> bool:
        return all(
            max(self._silent[party], self._answered[party]) < MAX_OF_PARTY
            and self._named[by, party] < MAX_NAMED
            for party in parties
        )

    def _has_answered(self, contact: Contact) -> None:
        """Give the place of a node that exists to others that may exist."""
        parties = parties_of(contact.address[0])
        self._answered.update(parties)
        self._silent.subtract(parties)
        by = self._namers.get(contact.node_id)
        if by is not None:
            self._named.subtract((by, party) for party in parties)

    def _ask(self, contact: Contact) -> None:
        self._asked += 1
        asking = Deferred.fromCoroutine(self._visit(contact))
        self._under_way.add(asking)
        asking.addBoth(self._ended, asking)

    async def _visit(self, contact: Contact) -> None:
        try:
            reply = await self._rpc.ask(contact, FindNode(random_id(self._rng)))
            # The first request can include a handshake; the second one is one round trip.
            began_at = self._clock.seconds()
            described = await self._rpc.ask(contact, Describe())
        except CallFailed:
            self._visited.append(VisitedNode(contact=contact, seconds=None))
            return
        seconds = self._clock.seconds() - began_at
        contacts = reply.contacts if isinstance(reply, Nodes) else ()
        self._has_answered(contact)
        self._hear_of(contacts, contact)
        self._visited.append(
            VisitedNode(
                contact=contact,
                seconds=seconds,
                software=described.software.decode() if isinstance(described, Described) else None,
                holds_values=isinstance(reply, Nodes) and reply.holds_values,
                named=len(contacts),
            )
        )

    def _ended(self, result: object, asking: "Deferred[None]") -> object:
        self._under_way.discard(asking)
        self._wake()
        return result

    def _wait(self, seconds: float) -> "Deferred[None]":
        """Fire when a node has answered, or after `seconds`."""
        self._waiting = Deferred()
        self._timer = self._clock.callLater(max(seconds, 0.0), self._wake)
        return self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        cancel_timer(self._timer)
        if waiting is not None and not waiting.called:
            waiting.callback(None)
