"""The node's three operations: put, get, and finding the nodes nearest to an id."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup, State
from dht14.kademlia.parameters import MAX_INLINE_VALUE, MAX_REPLICATION, REPLICATION, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.ports import Rpc
from dht14.node.search import OnReply, Search
from dht14.storage.ballot import Ballot
from dht14.storage.record import Kind, Record, next_version
from dht14.storage.store import Outcome, RecordStore, Verdict
from dht14.wire.messages import (
    FindNode,
    FindValue,
    Nodes,
    Outranked,
    Refused,
    Reply,
    Request,
    Store,
    Stored,
    Value,
    fingerprint,
)

T = TypeVar("T")


@frozen
class Policy:
    """What this node does where the client leaves it open. Times in seconds."""

    replication: int = REPLICATION
    min_ttl: int = 60
    max_ttl: int = 86_400
    default_ttl: int = 86_400

    def ttl(self, asked: int) -> int:
        """The time to live of a value whose writer asked for this; 0 asks for the default."""
        return min(max(asked or self.default_ttl, self.min_ttl), self.max_ttl)

    def copies(self, asked: int) -> int:
        """How many holders a value gets whose writer asked for this; 0 asks for the default."""
        return min(asked or self.replication, MAX_REPLICATION)


@define(eq=False)
class Node:
    """One node's view of the whole: a key-value store, reached through any node.

    A node without a store holds no values; it can look up all the same.
    """

    log = Logger()

    own_id: int
    table: RoutingTable
    _store: RecordStore | None
    _rpc: Rpc
    _clock: IReactorTime
    _policy: Policy
    hops: Counter[int] = field(factory=Counter, init=False)
    """How many lookups took how many hops."""

    # find

    def find_nodes(self, target: int, known: Iterable[Contact] = (), width: int = K) -> "Deferred[Lookup]":
        """The lookup, when it has ended, of the `width` nodes nearest to `target`.

        It begins with the table's contacts and those `known` besides.
        """
        lookup = self._lookup(target, width)
        lookup.heard_of(known)
        return self._search(lookup, FindNode(target), _nodes_replied)

    def _lookup(self, target: int, width: int) -> Lookup:
        lookup = Lookup(target, self.own_id, width)
        lookup.heard_of(self.table.closest(target, K))
        return lookup

    def _search(self, lookup: Lookup, request: Request, on_reply: OnReply) -> "Deferred[Lookup]":
        return Search(lookup, request, on_reply, self._rpc).run(self._clock).addCallback(self._searched)

    def _searched(self, lookup: Lookup) -> Lookup:
        self.table.looked_up(lookup.target, self._clock.seconds(), lookup.reach)
        self.hops[lookup.hops] += 1
        return lookup

    # get

    def get(self, key: int) -> "Deferred[bytes | None]":
        """The value under `key`; None when no node that should have it has it.

        One more holder is asked than must agree: enough that a lost datagram or a dead holder rarely
        stalls a read, and half of the datagrams that asking all of them would cost.
        """
        ballot = Ballot()
        own = self._store.get(key, self._clock.seconds()) if self._store else None
        if own is not None:
            ballot.cast(own)
            if ballot.settled:
                return succeed(own.value)
        lookup = self._lookup(key, self._policy.replication)
        lookup.thorough = own is None
        lookup.alpha = max(ballot.missing, 0) + 1
        searched = self._search(lookup, FindValue(key), partial(self._value_replied, key, ballot))
        return searched.addCallback(lambda _: ballot.winner.value if ballot.winner else None)

    def _value_replied(
        self, key: int, ballot: Ballot, lookup: Lookup, contact: Contact, reply: Reply
    ) -> None:
        if not isinstance(reply, Value):
            _nodes_replied(lookup, contact, reply)
            return
        expires_at = self._clock.seconds() + reply.ttl_ms / 1000
        ballot.cast(Record(key, reply.value, reply.version, expires_at, reply.replication))
        lookup.thorough = False
        lookup.alpha = max(ballot.missing, 0) + 1
        lookup.answered(contact)
        if ballot.settled:
            lookup.conclude()

    # put

    def put(self, key: int, value: bytes, ttl: int, replication: int) -> "Deferred[bool]":
        """Whether the value is held now by as many of the nodes nearest to its key as was asked for.

        `ttl` (seconds) and `replication` are wishes, brought within the policy's bounds. Where fewer
        nodes can be reached, all of them must hold it.
        """
        if not 1 <= len(value) <= MAX_INLINE_VALUE:
            self.log.warn(
                "A PUT of {size} bytes is refused: only values of 1 to {limit} bytes can be stored.",
                size=len(value),
                limit=MAX_INLINE_VALUE,
            )
            return succeed(False)
        now = self._clock.seconds()
        record = Record(key, value, 0, now + self._policy.ttl(ttl), self._policy.copies(replication))
        if record.kind is not Kind.CONTENT:
            record = evolve(record, version=next_version(now, self._newest_known(key)))
        return Deferred.fromCoroutine(self._put(record))

    def _newest_known(self, key: int) -> int:
        held = self._store.get(key, self._clock.seconds()) if self._store else None
        return held.version if held else 0

    async def _put(self, record: Record) -> bool:
        placed = await self._place(record)
        if placed.newest_met >= record.version and record.kind is not Kind.CONTENT:
            # A holder has a value of a writer whose clock is ahead of ours: ours is later all the same.
            record = evolve(record, version=placed.newest_met + 1)
            placed = await self._place(record)
        return placed.kept

    async def _place(self, record: Record) -> "Placement":
        """Store the record at the nodes nearest to its key, this one included where it is one of them."""
        candidates = self.table.closest(record.key, K)
        if not self.table.knows_region(record.key, record.replication, self._clock.seconds()):
            candidates = (await self.find_nodes(record.key)).shortlist()
        nearest = sorted({self.own_id, *(c.node_id for c in candidates)}, key=record.key.__xor__)
        nearest = nearest[: record.replication]
        lookup = Lookup(record.key, self.own_id, record.replication, alpha=record.replication)
        lookup.heard_of(candidates)
        placement = Placement({c.node_id for c in candidates if not self.table.is_suspect(c.node_id)})
        if self.own_id in nearest and await self._hold(record) is Outcome.HELD:
            lookup.includes_self()
        now = self._clock.seconds()
        request = Store(
            record.key,
            record.version,
            max(record.remaining_ms(now), 1),
            record.replication,
            fingerprint(nearest),
            record.value,
        )
        await self._search(lookup, request, placement.replied)
        placement.judge(lookup)
        return placement

    async def _hold(self, record: Record) -> Outcome:
        if self._store is None:
            return Outcome.REFUSED
        verdict: Deferred[Verdict] = Deferred()
        self._store.offer(record, self._clock.seconds(), verdict.callback)
        return (await verdict).outcome


def _nodes_replied(lookup: Lookup, contact: Contact, reply: Reply) -> None:
    if isinstance(reply, Nodes):
        lookup.answered(contact, reply.contacts)
    else:
        lookup.refused(contact)


@define(eq=False)
class Placement:
    """How the STOREs of one record fared."""

    _trusted: set[int]
    """Ids of the contacts that were well when it began."""
    newest_met: int = field(default=-1, init=False)
    """The greatest version that outranked the record somewhere."""
    kept: bool = field(default=False, init=False)
    """Whether all who should hold the record have said that they do."""

    def replied(self, lookup: Lookup, contact: Contact, reply: Reply) -> None:
        """One contact answered its STORE."""
        if isinstance(reply, Stored):
            lookup.answered(contact, reply.nearer)
        elif isinstance(reply, Outranked):
            self.newest_met = max(self.newest_met, reply.version)
            lookup.refused(contact, reply.nearer)
        else:
            lookup.refused(contact, reply.nearer if isinstance(reply, Refused) else ())

    def judge(self, lookup: Lookup) -> None:
        """The STOREs are over. Enough receipts, or all there were to be had?

        Where most of the contacts that were well a moment ago did not answer, it is rather this node that
        is cut off: what it keeps to itself is not stored.
        """
        receipts = lookup.count(State.ANSWERED)
        lost = sum(c.node_id in self._trusted for c in lookup.unanswering())
        enough = receipts >= lookup.width
        all_there_were = lookup.finished and receipts > 0 and lost <= receipts - lookup.counts_self
        self.kept = enough or all_there_were
