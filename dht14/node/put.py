"""PUT: stores a record at the nodes nearest to its key, and says truly how that went.

A record goes to its holders, as many as were asked for and at least the group of its key. It is stored when as
many as were asked for have it on disk, or all that hold values and can be reached, and most of the group among
them: then every later read meets it.
"""

from collections import Counter

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.parameters import GROUP, MAX_REPLICATION, MAX_VALUE, QUORUM, REPLICATION, K
from dht14.kademlia.subnet_limits import spread
from dht14.node.concurrency import ConcurrencyLimit
from dht14.node.freshness import Freshness
from dht14.node.get import RecordReader
from dht14.node.lookups import Lookups, nodes_replied
from dht14.node.network_time import NetworkTime
from dht14.node.republish_times import RepublishTimes
from dht14.node.write_quorum import WriteQuorum
from dht14.records.receipt import PutOutcome, PutReason, Receipt
from dht14.records.record import Kind, Record, proven, version_at
from dht14.records.store import Outcome, RecordStore, Refusal, Verdict, conflicting_record
from dht14.wire.messages import FindNode, Store, fingerprint

SETTLE_ROUNDS = 2
"""How often a conflict is looked at before the writer is told how it ended."""

SAME_TIME = 1.0
"""Seconds that a version may be ahead of the time before it counts as one from the future: so exact is the time
that nodes agree on. What is newer than a write by less was written at the same time."""

WITNESSES = 2
"""Holders that must tell of a version from the future before a writer goes above it: a single one may lie, and
would lift the versions of a key as it likes."""

TIME_SECONDS = 0.5
"""For which the clocks of contacts are waited for, where the own one is wrong."""

PUTS_AT_ONCE = 128
"""Puts of one node that are under way together. Of many more, contacts that are as busy as this node would answer the
last ones only after they have been taken for dead."""

TURN_SECONDS = 2.0
"""For which a put waits until others have ended; then it begins all the same."""

BOUT = 60.0
"""Seconds between two log lines about puts that fail for the same reason."""


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
class RecordWriter:
    """The puts of one node."""

    log = Logger()

    _lookups: Lookups
    _store: RecordStore | None
    _time: NetworkTime
    _freshness: Freshness
    _policy: Policy
    _diary: RepublishTimes
    _reader: RecordReader
    outcomes: Counter[str] = field(factory=Counter, init=False)
    """Puts by how they ended, and by the reason where they failed."""
    _turns: ConcurrencyLimit = field(init=False)
    _told: dict[PutReason, float] = field(factory=dict, init=False)
    """When a failure for this reason was last logged."""

    def __attrs_post_init__(self) -> None:
        self._turns = ConcurrencyLimit(self._lookups.clock, PUTS_AT_ONCE, TURN_SECONDS)

    async def put(self, key: int, value: bytes, ttl: int, replication: int, timeout: float) -> Receipt:
        """Store a value within `timeout` seconds. `ttl` (s) and `replication` are wishes, brought within the
        policy's bounds."""
        wanted = self._policy.copies(replication)
        deadline = self._lookups.clock.seconds() + timeout
        await self._turns.take()
        try:
            receipt = await self._put(key, value, self._policy.ttl(ttl), wanted, deadline)
        finally:
            self._turns.give_back()
        self._count(receipt)
        return receipt

    async def _put(self, key: int, value: bytes, ttl: int, wanted: int, deadline: float) -> Receipt:
        if not 1 <= len(value) <= MAX_VALUE:
            self.log.warn(
                "A PUT of {size} bytes is refused: only values of 1 to {limit} bytes can be stored.",
                size=len(value),
                limit=MAX_VALUE,
            )
            return _refused(wanted, PutReason.NOT_AUTHENTIC)
        now = self._lookups.clock.seconds()
        record = Record(
            key=key,
            value=value,
            version=0,
            expires_at=now + ttl,
            replication=max(wanted, GROUP),
            writer=self._lookups.table.own_id,
        )
        if record.is_owned:
            try:
                record = proven(record)
            except Malformed as flaw:
                self.log.warn("A PUT is refused: its value is {reason}.", reason=str(flaw))
                return _refused(wanted, PutReason.NOT_AUTHENTIC)
            return await self._put_owned(record, wanted, deadline)
        if record.kind is Kind.CONTENT:
            return _receipt(await self._store_at_holders(record, wanted, deadline))
        return await self._put_open(record, wanted, deadline)

    def _count(self, receipt: Receipt) -> None:
        if receipt.acknowledged:
            self.outcomes[receipt.outcome.name.lower()] += 1
            return
        reason = receipt.reason
        self.outcomes[reason.name.lower()] += 1
        if reason is PutReason.NOT_AUTHENTIC and not receipt.stored:
            return  # What is wrong with it has been said.
        now = self._lookups.clock.seconds()
        if now - self._told.get(reason, -BOUT) >= BOUT:
            self._told[reason] = now
            self.log.warn(
                "A PUT is not stored: {reason}. {stored} of {wanted} nodes have the value. More puts that fail "
                "so in the next minute are only counted.",
                reason=_REASONS[reason],
                stored=receipt.stored,
                wanted=receipt.wanted,
            )

    # Open records

    async def _put_open(self, record: Record, wanted: int, deadline: float) -> Receipt:
        began = version_at(self._time.now())
        held = self._store.get(record.key, self._lookups.clock.seconds()) if self._store else None
        newest_here = held.version if held is not None and held.kind is Kind.OPEN else 0
        record = evolve(record, version=self._version_above(newest_here, began))
        placed = await self._store_at_holders(record, wanted, deadline)
        if placed.refused_version or placed.met_after(self._latest()):
            # Others have a version from the future; or this node does not know yet what time it is.
            remaining = max(deadline - self._lookups.clock.seconds(), 0.0)
            nearest = self._lookups.table.closest(record.key, GROUP)
            await self._lookups.ping(nearest, min(TIME_SECONDS, remaining))
        is_wrong = placed.refused_version and self._is_off(record.version)
        version = version_at(self._time.now()) if is_wrong else record.version
        version = self._version_above(placed.version_to_surpass(self._latest(), WITNESSES), version)
        if version != record.version:
            record = evolve(record, version=version)
            placed = await self._store_at_holders(record, wanted, deadline)
        if placed.outranked:
            return await self._overtaken(record, placed, deadline)
        return _receipt(placed)

    def _latest(self) -> int:
        """The greatest version that can have been made by now."""
        return version_at(self._time.now() + SAME_TIME)

    def _version_above(self, newest: int, otherwise: int) -> int:
        """A version above the newest one that is known, where that can be believed."""
        return max(otherwise, newest + 1) if self._time.may_be_held(newest) else otherwise

    def _is_off(self, version: int) -> bool:
        """Whether this version was made by another time than the one that the network has."""
        return abs(version - version_at(self._time.now())) > version_at(SAME_TIME)

    async def _overtaken(self, record: Record, placed: WriteQuorum, deadline: float) -> Receipt:
        """A holder has a better record of this key, or lies: what readers see decides."""
        found = await self._reader.find(record.key, deadline - self._lookups.clock.seconds())
        if isinstance(found, Record):
            if found.value == record.value:
                return _receipt(placed)
            if found.kind is not Kind.OPEN:
                return _refused(placed.wanted, PutReason.CONFLICT, placed.receipts, record.version)
            if found.rank > record.rank and placed.agreed:
                return Receipt(PutOutcome.SUPERSEDED, placed.receipts, placed.wanted, version=record.version)
        return _refused(placed.wanted, placed.reason, placed.receipts, record.version)

    # Owners' records

    async def _put_owned(self, record: Record, wanted: int, deadline: float) -> Receipt:
        """Put an owner's record, unless there is one that it conflicts with.

        To look before it is written anywhere keeps what has lost from holders that have nothing of the key.
        What is written at the same moment is met there: then the order decides, and the holders are told.
        """
        if record.is_tombstone:
            # It must outlive every copy of what it deletes, wherever one comes back from.
            record = evolve(record, expires_at=self._lookups.clock.seconds() + self._policy.max_ttl)
        found = await self._reader.find(record.key, (deadline - self._lookups.clock.seconds()) / 2)
        if isinstance(found, Record):
            if record.conflicts_with(found):
                return _refused(wanted, PutReason.CONFLICT, version=record.version)
            if record.is_tombstone:
                record = evolve(record, replication=max(record.replication, found.replication))
        placed = await self._store_at_holders(record, wanted, deadline)
        if placed.outranked:
            return await self._settle(record, placed, deadline)
        return _receipt(placed)

    async def _settle(self, record: Record, placed: WriteQuorum, deadline: float) -> Receipt:
        """An owner's record met others at some holders: let all of them hold the newest. Whether that is it."""
        newest = record if placed.receipts else None
        settled = placed
        for _ in range(SETTLE_ROUNDS):
            timeout = (deadline - self._lookups.clock.seconds()) / 2
            found = await self._reader.find(record.key, timeout, exhaustive=True)
            if isinstance(found, Record) and (newest is None or found.rank > newest.rank):
                newest = found
            if newest is None:
                break
            # Where the record has got to, the one that has won must get to as well.
            newest = evolve(newest, replication=max(newest.replication, record.replication))
            settled = await self._store_at_holders(newest, placed.wanted, deadline, copy=True)
            if not settled.outranked:
                break
        if newest is not None and newest.value == record.value:
            return _receipt(settled)
        return _refused(placed.wanted, PutReason.CONFLICT, placed.receipts, record.version)

    # Holders

    async def _holders(self, record: Record, deadline: float) -> tuple[list[Contact], int]:
        """The contacts nearest to the key, nearest first, and how many of them shall hold the record: all of
        the region where the key is crowded, for among so many the honest ones cannot be told."""
        key, width, table = record.key, record.replication, self._lookups.table
        candidates = table.closest(key, K)
        if not table.knows_region(key, width):
            timeout = (deadline - self._lookups.clock.seconds()) / 2
            candidates = (await self._lookups.find_nodes(key, width=width, timeout=timeout)).shortlist()
        if self._lookups.alarm.suspects(key) or table.is_crowded(key):
            timeout = (deadline - self._lookups.clock.seconds()) / 2
            paths = self._lookups.paths(key, width)
            region = await self._lookups.run(paths, FindNode(key), nodes_replied, timeout)
            candidates = region.nearest() or candidates
            width = max(width, len(candidates))
        return candidates, width

    async def _store_at_holders(
        self, record: Record, wanted: int, deadline: float, copy: bool = False
    ) -> WriteQuorum:
        """Store the record at the nodes nearest to its key, and at as many as what it replaces has: copies of
        that must not outlive it anywhere."""
        placed = await self._place(record, wanted, deadline, copy)
        if placed.replication_met > record.replication and record.kind is not Kind.CONTENT:
            wider = evolve(record, replication=placed.replication_met)
            placed = await self._place(wider, wanted, deadline, copy)
        return placed

    async def _place(self, record: Record, wanted: int, deadline: float, copy: bool = False) -> WriteQuorum:
        """Store the record at the nodes nearest to its key, this one included where it is one of them."""
        table, own_id, key = self._lookups.table, self._lookups.table.own_id, record.key
        candidates, width = await self._holders(record, deadline)
        spread_out = (contact.node_id for contact in spread(candidates, table.subnet_of))
        nearest = sorted({own_id, *spread_out}, key=key.__xor__)[:width]
        lookup = Lookup(key, own_id, width, alpha=width, purpose=Purpose.STORE, subnet_of=table.subnet_of)
        lookup.heard_of(candidates)
        well = {c.node_id for c in candidates if not table.is_suspect(c.node_id)}
        placed = WriteQuorum(record, wanted, max(wanted, QUORUM), lookup, well)
        if own_id in nearest:
            await self._hold(placed, deadline, copy)
        now = self._lookups.clock.seconds()
        request = Store(
            key,
            record.version,
            max(record.remaining_ms(now), 1),
            record.replication,
            fingerprint(nearest[: record.replication]),
            record.value,
            copy,
        )
        await self._lookups.run(lookup, request, placed.replied, deadline - now)
        if own_id not in nearest and placed.lacks(own_id):
            await self._hold(placed, deadline, copy)
        placed.conclude()
        return placed

    async def _hold(self, placed: WriteQuorum, deadline: float, copy: bool) -> None:
        """Hold the record here. A disk that hangs leaves half of the time for the other holders."""
        if self._store is None:
            return
        record, now = placed.record, self._lookups.clock.seconds()
        held = None if copy else conflicting_record(self._store, record, now)
        if held is not None:
            verdict = Verdict(Outcome.OUTRANKED, held.version)
        else:
            told: Deferred[Verdict] = Deferred()
            self._store.offer(record, now, told.callback)
            timeout = max(deadline - now, 0.0) / 2
            verdict = await told.addTimeout(timeout, self._lookups.clock).addErrback(_not_in_time)
            self._diary.seen_to(record.key, now)
        placed.tried_here(verdict, self._freshness.is_current)


def _not_in_time(failure: Failure) -> Verdict:
    failure.trap(TimeoutError)
    return Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM)


def _refused(wanted: int, reason: PutReason, stored: int = 0, version: int = 0) -> Receipt:
    return Receipt(PutOutcome.NOT_STORED, stored, wanted, reason, version)


def _receipt(placed: WriteQuorum) -> Receipt:
    """What the client is told of a record that nothing outranks."""
    stored, wanted, version = placed.receipts, placed.wanted, placed.record.version
    if not placed.succeeded:
        return Receipt(PutOutcome.NOT_STORED, stored, wanted, placed.reason, version)
    outcome = PutOutcome.STORED if stored >= wanted else PutOutcome.STORED_BY_ALL
    return Receipt(outcome, stored, wanted, PutReason.NONE, version)


_REASONS = {
    PutReason.NOT_READY: "the node is not ready",
    PutReason.NO_ROOM: "holders have no room, or cannot write",
    PutReason.WRITER_SHARE: "holders have no more room for what this node writes",
    PutReason.CONFLICT: "its key has content, or a newer record of its owner",
    PutReason.TOO_FEW_HOLDERS: "too few of the nodes that should hold it have answered",
    PutReason.NOT_AUTHENTIC: "it is not what its key or its signature says",
}
