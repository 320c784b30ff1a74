"""The node's three operations: put, get, and finding the nodes nearest to an id."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import id_from_bytes
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import (
    FIRST_READ_TIMEOUT,
    MAX_REPLICATION,
    MAX_VALUE,
    OPERATION_TIMEOUT,
    PATHS,
    REGION_NODES,
    REPLICATION,
    K,
)
from dht14.kademlia.paths import Paths
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.subnets import spread
from dht14.node.alarm import Alarm
from dht14.node.diary import Diary
from dht14.node.fetch import Fetch
from dht14.node.finding import EVERYBODY, Finding
from dht14.node.placement import Placement
from dht14.node.ports import Bulk, Rpc
from dht14.node.read_repair import ReadRepair
from dht14.node.search import OnReply, Search, Walk
from dht14.storage.ballot import READ_QUORUM, Ballot
from dht14.storage.claim import Claim
from dht14.storage.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.storage.record import Kind, Record, newest_believable, next_version, proven
from dht14.storage.store import Outcome, RecordStore, Verdict, in_the_way
from dht14.wire.messages import (
    FindNode,
    FindValue,
    Nodes,
    Reply,
    Request,
    Store,
    fingerprint,
)

T = TypeVar("T")
W = TypeVar("W", Lookup, Paths)

SETTLE_ROUNDS = 2
"""How often a conflict is looked at before the writer is told how it ended."""

HOLDERS_BEHIND = 3600.0
"""Seconds that a version keeps off the newest believable one when it is to be surpassed: holders whose clocks are
behind ours by no more believe what comes of it. A liar could else have writers write what nobody takes."""


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
    _bulk: Bulk
    _clock: IReactorTime
    _policy: Policy
    _diary: Diary = field(factory=Diary)
    _read_repair: ReadRepair | None = None
    """None in a node without a store, which has no part in the upkeep of records."""
    hops: Counter[int] = field(factory=Counter, init=False)
    """How many lookups took how many hops."""
    alarm: Alarm = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.alarm = Alarm(self.table)

    # find

    def find_nodes(
        self,
        target: int,
        known: Iterable[Contact] = (),
        width: int = K,
        timeout: float = OPERATION_TIMEOUT,
    ) -> "Deferred[Lookup]":
        """The lookup, when it has ended, of the `width` nodes nearest to `target`.

        It begins with the table's contacts and those `known` besides.
        """
        lookup = self._lookup(target, width)
        lookup.heard_of(known)
        return self._search(lookup, FindNode(target), _nodes_replied, timeout)

    def _lookup(self, target: int, width: int) -> Lookup:
        lookup = Lookup(target, self.own_id, width, subnet_of=self.table.subnet_of)
        lookup.heard_of(self.table.closest(target, K))
        return lookup

    def _paths(self, target: int, replication: int) -> Paths:
        """A lookup of everybody in the region of a crowded key."""
        known = self.table.closest(target, PATHS * K)
        radius = self.table.region(replication)
        return Paths.of(target, self.own_id, known, replication, radius, self.table.subnet_of)

    def _search(self, lookup: W, request: Request, on_reply: OnReply, timeout: float) -> "Deferred[W]":
        search = Search(lookup, request, on_reply, self._rpc)
        return search.run(self._clock, max(timeout, 0.0)).addCallback(lambda _: self._searched(lookup))

    def _searched(self, lookup: W) -> W:
        self.table.looked_up(lookup.target, self._clock.seconds())
        self.hops[lookup.hops] += 1
        self.alarm.searched(lookup)
        return lookup

    # get

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """The record under `key`, or why there is none, within `timeout` seconds.

        With `content` only a value whose SHA-256 is the key counts.
        """
        return Deferred.fromCoroutine(self._get(key, content, timeout))

    async def _get(self, key: int, content: bool, timeout: float) -> Record | NoRecord:
        found = await self._find_for_sure(key, timeout)
        if found is None or (content and id_from_bytes(found.digest) != key):
            return NoRecord.NOT_FOUND
        return NoRecord.DELETED if found.is_tombstone else found

    async def _find_for_sure(self, key: int, timeout: float) -> Record | None:
        """The newest record, sought more widely where the first search has raised the alarm.

        Content is beyond doubt. Of other records those nearest to the key may have kept the newest back.
        """
        deadline = self._clock.seconds() + timeout
        had_rung = self.alarm.rings_for(key)
        found = await self._find(key, timeout)
        is_certain = found is not None and found.kind is Kind.CONTENT
        if is_certain or had_rung or not self.alarm.rings_for(key):
            return found
        return _newest(found, await self._find(key, deadline - self._clock.seconds()))

    def _find(
        self, key: int, timeout: float, quorum: int = READ_QUORUM, unheard: frozenset[int] = frozenset()
    ) -> "Deferred[Record | None]":
        """The newest record under `key`, within `timeout` seconds. With a quorum of `EVERYBODY`, of all that
        any of the k nearest has. Large values that the contacts with the ids `unheard` tell of do not count.

        One more holder is asked than must agree: enough that a lost datagram or a dead holder rarely
        stalls a read, and half of the datagrams that asking all of them would cost.
        """
        is_wide = self.alarm.rings_for(key)
        quorum = REGION_NODES + 1 if is_wide else quorum
        ballot = Ballot(quorum)
        now = self._clock.seconds()
        own = self._store.get(key, now) if self._store else None
        if own is not None:
            ballot.cast(own, self.table.is_near(key, own.replication))
            if ballot.settled:
                return succeed(own)
        finding = Finding(key, ballot, self._clock, unheard)
        searched: Deferred[Lookup] | Deferred[Paths]
        if is_wide:
            paths = self._paths(key, self._policy.replication)
            searched = self._search(paths, FindValue(key), finding.replied, timeout)
        else:
            lookup = self._lookup(key, K if quorum >= EVERYBODY else self._policy.replication)
            lookup.thorough = own is None or quorum >= EVERYBODY
            lookup.alpha = max(ballot.missing, 0) + 1
            patience = timeout if quorum >= EVERYBODY else min(timeout, FIRST_READ_TIMEOUT)
            searched = self._search(lookup, FindValue(key), finding.replied, patience)
        return searched.addCallback(self._found, finding, now + timeout)

    def _found(
        self, lookup: Walk, finding: Finding, deadline: float
    ) -> "Record | Deferred[Record | None] | None":
        winner = finding.ballot.winner
        if isinstance(winner, Claim):
            fetched = Deferred.fromCoroutine(self._fetch(finding, deadline))
            return fetched.addCallback(self._decided, lookup, finding)
        return self._decided(winner, lookup, finding)

    def _decided(self, record: Record | None, lookup: Walk, finding: Finding) -> Record | None:
        if record is not None and self._read_repair is not None:
            self._read_repair.decided(lookup, record, finding.answers)
        return record

    async def _fetch(self, finding: Finding, deadline: float) -> Record | None:
        """The best record that is really to be had. After a claim that nobody could make true everything is
        asked for once more, without those who made it: they may have ended the search too early."""
        ballot, unheard = finding.ballot, finding.unheard
        while isinstance(claim := ballot.winner, Claim):
            claimers = finding.claimers(claim)
            fetch = Fetch(claim, iter(claimers), self._bulk, self._clock)
            # One that claims, and then does not send, has half of the time: the rest is for the others.
            record = await fetch.run((deadline - self._clock.seconds()) / 2)
            if record is not None:
                return record
            unheard |= {claimer.contact.node_id for claimer in claimers}
            ballot.strike_out()
        remaining = deadline - self._clock.seconds()
        if remaining <= 0:
            return claim
        return _newest(claim, await self._find(finding.key, remaining, ballot.quorum, unheard))

    # put

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """What became of the value: whether as many of the nodes nearest to its key hold it as was asked for.

        `ttl` (seconds) and `replication` are wishes, brought within the policy's bounds. Where fewer
        nodes can be reached, all of them must hold it. All of it takes `timeout` seconds at the most.
        """
        return Deferred.fromCoroutine(self._put_checked(key, value, ttl, replication, timeout))

    async def _put_checked(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float
    ) -> Receipt:
        wanted = self._policy.copies(replication)
        if not 1 <= len(value) <= MAX_VALUE:
            self.log.warn(
                "A PUT of {size} bytes is refused: only values of 1 to {limit} bytes can be stored.",
                size=len(value),
                limit=MAX_VALUE,
            )
            return Receipt(PutOutcome.NOT_STORED, 0, wanted, PutReason.NOT_AUTHENTIC)
        now = self._clock.seconds()
        record = Record(key, value, 0, now + self._policy.ttl(ttl), wanted, self.own_id)
        if record.is_owned:
            return await self._put_if_proven(record, now + timeout)
        if record.kind is not Kind.CONTENT:
            record = evolve(record, version=next_version(now, self._newest_known(key)))
        return await self._put(record, now + timeout)

    def _newest_known(self, key: int) -> int:
        held = self._store.get(key, self._clock.seconds()) if self._store else None
        return held.version if held is not None and held.kind is Kind.OPEN else 0

    async def _put(self, record: Record, deadline: float) -> Receipt:
        placed = await self._place(record, deadline)
        if placed.newest_met >= record.version:
            # A holder has a value of a writer whose clock is ahead of ours: ours is later all the same.
            record = evolve(record, version=placed.newest_met + 1)
            placed = await self._place(record, deadline)
        if placed.kept and placed.outranked:
            # A holder has a better record of this key, content perhaps, or lies. Readers decide.
            found = await self._find(record.key, deadline - self._clock.seconds())
            if found is None or found.value != record.value:
                return placed.receipt(record, False, PutReason.CONFLICT)
        return placed.receipt(record, placed.kept)

    async def _put_if_proven(self, record: Record, deadline: float) -> Receipt:
        try:
            record = proven(record)
        except Malformed as flaw:
            self.log.warn("A PUT is refused: its value is {reason}.", reason=str(flaw))
            return Receipt(PutOutcome.NOT_STORED, 0, record.replication, PutReason.NOT_AUTHENTIC)
        if record.is_tombstone:
            # It must outlive every copy of what it deletes, wherever one comes back from.
            record = evolve(record, expires_at=self._clock.seconds() + self._policy.max_ttl)
        return await self._put_owned(record, deadline)

    async def _put_owned(self, record: Record, deadline: float) -> Receipt:
        """Put an owner's record, unless there is one that it conflicts with.

        To look before it is written anywhere keeps what has lost from holders that have nothing of the key.
        What is written at the same moment is met there: then the order decides, and the holders are told.
        """
        found = await self._find(record.key, (deadline - self._clock.seconds()) / 2)
        if found is not None and record.conflicts_with(found):
            return Receipt(PutOutcome.NOT_STORED, 0, record.replication, PutReason.CONFLICT, record.version)
        if found is not None and record.is_tombstone:
            record = evolve(record, replication=max(record.replication, found.replication))
        placed = await self._place(record, deadline)
        if placed.outranked:
            kept = await self._settle(record, placed.receipts > 0, deadline)
            return placed.receipt(record, kept, PutReason.CONFLICT)
        return placed.receipt(record, placed.kept)

    async def _settle(self, record: Record, is_held: bool, deadline: float) -> bool:
        """An owner's record met others at some holders: let all of them hold the newest. Whether that is it."""
        newest = record if is_held else None
        kept = False
        for _ in range(SETTLE_ROUNDS):
            found = await self._find(record.key, (deadline - self._clock.seconds()) / 2, EVERYBODY)
            if found is not None and (newest is None or found.rank > newest.rank):
                newest = found
            if newest is None:
                return False
            placed = await self._place(newest, deadline, copy=True)
            kept = placed.kept and newest.value == record.value
            if not placed.outranked:
                break
        return kept

    async def _holders(self, record: Record, deadline: float) -> tuple[list[Contact], int]:
        """The contacts nearest to the key, nearest first, and how many of them shall hold the record: all of
        the region where the key is crowded, for among so many the honest ones cannot be told."""
        key, width = record.key, record.replication
        candidates = self.table.closest(key, K)
        if not self.table.knows_region(key, width):
            timeout = (deadline - self._clock.seconds()) / 2
            candidates = (await self.find_nodes(key, width=width, timeout=timeout)).shortlist()
        if self.alarm.rings_for(key) or self.table.is_crowded(key):
            timeout = (deadline - self._clock.seconds()) / 2
            region = await self._search(self._paths(key, width), FindNode(key), _nodes_replied, timeout)
            candidates = region.nearest() or candidates
            width = max(width, len(candidates))
        return candidates, width

    async def _place(self, record: Record, deadline: float, copy: bool = False) -> Placement:
        """Store the record at the nodes nearest to its key, this one included where it is one of them."""
        candidates, width = await self._holders(record, deadline)
        now = self._clock.seconds()
        spread_out = (contact.node_id for contact in spread(candidates, self.table.subnet_of))
        nearest = sorted({self.own_id, *spread_out}, key=record.key.__xor__)[:width]
        lookup = Lookup(
            record.key, self.own_id, width, alpha=width, binding=True, subnet_of=self.table.subnet_of
        )
        lookup.heard_of(candidates)
        well = {c.node_id for c in candidates if not self.table.is_suspect(c.node_id)}
        placement = Placement(record, lookup, well, newest_believable(now - HOLDERS_BEHIND))
        if self.own_id in nearest:
            await self._hold(placement, copy)
        now = self._clock.seconds()
        request = Store(
            record.key,
            record.version,
            max(record.remaining_ms(now), 1),
            record.replication,
            fingerprint(nearest[: record.replication]),
            record.value,
            copy,
        )
        await self._search(lookup, request, placement.replied, deadline - now)
        if self.own_id not in nearest and placement.lacks(self.own_id):
            await self._hold(placement, copy)
        placement.judge()
        return placement

    async def _hold(self, placement: Placement, copy: bool) -> None:
        if self._store is None:
            return
        record, now = placement.record, self._clock.seconds()
        held = None if copy else in_the_way(self._store, record, now)
        if held is not None:
            placement.tried_here(Verdict(Outcome.OUTRANKED, held.version))
            return
        verdict: Deferred[Verdict] = Deferred()
        self._store.offer(record, now, verdict.callback)
        placement.tried_here(await verdict)
        self._diary.seen_to(record.key, now)


def _newest(one: Record | None, other: Record | None) -> Record | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda record: record.rank)


def _nodes_replied(lookup: Walk, contact: Contact, reply: Reply) -> None:
    if isinstance(reply, Nodes):
        lookup.answered(contact, reply.contacts)
    else:
        lookup.refused(contact)
