"""PUT: stores a record at the nodes nearest to its key, and reports truthfully how that went.

A record goes to as many holders as the client asked for, and at least to the group of its key. It is stored
when two conditions hold: as many holders as asked for have it on disk, or all that hold values and can be
reached; and most of the group are among them. Then every later read sees it.
"""

from collections.abc import Callable
from contextlib import suppress

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from dht14.errors import Malformed
from dht14.kademlia.parameters import (
    GROUP,
    MAX_VALUE,
    PUT_QUEUE_TIMEOUT,
)
from dht14.node.concurrency import ConcurrencyLimit
from dht14.node.get import RecordReader
from dht14.node.holders import Holders
from dht14.node.lookups import Lookups
from dht14.node.metrics import PutMetrics
from dht14.node.policy import Policy
from dht14.node.version_choice import VersionChoice
from dht14.node.write_quorum import WriteQuorum
from dht14.records.receipt import PutOutcome, PutReason, Receipt
from dht14.records.record import Kind, Record, proven

MAX_SETTLE_ROUNDS = 2
"""How often a conflict is checked before the client is told how it ended."""

MAX_PUTS = 128
"""Puts of one node that run at once. With many more, contacts as busy as this node would answer the last ones
only after they were presumed dead."""

LOG_INTERVAL = 60.0
"""Seconds between two log lines about puts that fail for the same reason."""


OnStored = Callable[[Record], "Deferred[bool] | None"]


@define(eq=False)
class RecordWriter:
    """The puts of one node."""

    log = Logger()

    _lookups: Lookups
    _policy: Policy
    _reader: RecordReader
    holders: Holders
    """Where its records go."""
    _versions: VersionChoice
    metrics: PutMetrics = field(factory=PutMetrics, init=False)
    on_stored: OnStored = field(default=lambda record: None, init=False)
    """Called with each record that is stored, as its client put it. The receipt waits for what it returns."""
    _concurrency: ConcurrencyLimit = field(init=False)
    _logged_at: dict[PutReason, float] = field(factory=dict, init=False)
    """When a failure for each reason was last logged."""

    def __attrs_post_init__(self) -> None:
        self._concurrency = ConcurrencyLimit(self._lookups.clock, MAX_PUTS, PUT_QUEUE_TIMEOUT)

    async def put(self, key: int, value: bytes, ttl: int, replication: int, timeout: float) -> Receipt:
        """Store a value within `timeout` seconds. The policy bounds `ttl` (seconds) and `replication`."""
        wanted, ttl = self._policy.copies(replication), self._policy.ttl(ttl)
        now = self._lookups.clock.seconds()
        deadline = now + timeout
        await self._concurrency.acquire()
        try:
            receipt = await self._put(key, value, ttl, wanted, deadline)
        finally:
            self._concurrency.release()
        self._count(receipt)
        if receipt.outcome in (PutOutcome.STORED, PutOutcome.STORED_BY_ALL):
            version = receipt.version
            stored = Record(key=key, value=value, version=version, expires_at=now + ttl, replication=wanted)
            await self._tell(stored, deadline)
        return receipt

    async def _tell(self, stored: Record, deadline: float) -> None:
        if (written := self.on_stored(stored)) is not None:
            with suppress(TimeoutError):
                clock = self._lookups.clock
                await written.addTimeout(max(deadline - clock.seconds(), 0.0), clock)

    async def _put(self, key: int, value: bytes, ttl: int, wanted: int, deadline: float) -> Receipt:
        if not 1 <= len(value) <= MAX_VALUE:
            self.log.warn(
                "A PUT of {size} bytes is refused: only values of 1 to {limit} bytes can be stored.",
                event="put.wrong_size",
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
                self.log.warn(
                    "A PUT is refused: its value is {reason}.", event="put.not_authentic", reason=str(flaw)
                )
                return _refused(wanted, PutReason.NOT_AUTHENTIC)
            return await self._put_owned(record, wanted, deadline)
        if record.kind is Kind.CONTENT:
            return _receipt(await self.holders.store(record, wanted, deadline))
        return await self._put_open(record, wanted, deadline)

    def _count(self, receipt: Receipt) -> None:
        self.metrics.outcomes[receipt.outcome] += 1
        if receipt.acknowledged:
            return
        reason = receipt.reason
        self.metrics.failures[reason] += 1
        if reason is PutReason.NOT_AUTHENTIC and not receipt.stored:
            return  # `_put` has logged it.
        now = self._lookups.clock.seconds()
        if now - self._logged_at.get(reason, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged_at[reason] = now
            self.log.warn(
                "A PUT was not stored: {reason}. Nodes that have the value: {stored} of {wanted}. "
                "More failures for this reason within a minute are only counted.",
                event="put.not_stored",
                reason=_REASONS[reason],
                stored=receipt.stored,
                wanted=receipt.wanted,
            )

    # Open records

    async def _put_open(self, record: Record, wanted: int, deadline: float) -> Receipt:
        """Store a record that any node may replace, with a version above those that the holders have."""
        record = evolve(record, version=await self._versions.first(record, deadline))
        quorum = await self.holders.store(record, wanted, deadline)
        version = await self._versions.next(record, quorum, deadline)
        if version != record.version:
            record = evolve(record, version=version)
            quorum = await self.holders.store(record, wanted, deadline)
        if quorum.outranked:
            return await self._receipt_of_outranked(record, quorum, deadline)
        return _receipt(quorum)

    async def _receipt_of_outranked(self, record: Record, quorum: WriteQuorum, deadline: float) -> Receipt:
        """A holder has a better record of this key, or lies: what readers see decides."""
        found = await self._reader.find(record.key, deadline - self._lookups.clock.seconds())
        if isinstance(found, Record):
            if found.value == record.value:
                return _receipt(quorum)
            if found.kind is not Kind.OPEN:
                return _refused(quorum.wanted, PutReason.CONFLICT, quorum.receipts, record.version)
            if found.rank > record.rank and quorum.agreed:
                return Receipt(PutOutcome.SUPERSEDED, quorum.receipts, quorum.wanted, version=record.version)
        return _refused(quorum.wanted, quorum.reason, quorum.receipts, record.version)

    # Owners' records

    async def _put_owned(self, record: Record, wanted: int, deadline: float) -> Receipt:
        """Store an owner's record, unless it conflicts with one that is stored.

        Looking first keeps a record that has lost away from holders that have nothing under the key. Holders
        meet records that are written at the same moment: then their order decides, and `_settle` brings all
        holders the newest.
        """
        if record.is_tombstone:
            # It must outlive every copy of what it deletes, wherever one reappears.
            record = evolve(record, expires_at=self._lookups.clock.seconds() + self._policy.max_ttl)
        found = await self._reader.find(record.key, (deadline - self._lookups.clock.seconds()) / 2)
        if isinstance(found, Record):
            if record.conflicts_with(found):
                return _refused(wanted, PutReason.CONFLICT, version=record.version)
            if record.is_tombstone:
                record = evolve(record, replication=max(record.replication, found.replication))
        quorum = await self.holders.store(record, wanted, deadline)
        if quorum.outranked:
            return await self._settle(record, quorum, deadline)
        return _receipt(quorum)

    async def _settle(self, record: Record, quorum: WriteQuorum, deadline: float) -> Receipt:
        """Bring all holders the newest record of the key. The receipt says whether it is that of this put."""
        newest = record if quorum.receipts else None
        settled = quorum
        for _ in range(MAX_SETTLE_ROUNDS):
            timeout = (deadline - self._lookups.clock.seconds()) / 2
            found = await self._reader.find(record.key, timeout, exhaustive=True)
            if isinstance(found, Record) and (newest is None or found.rank > newest.rank):
                newest = found
            if newest is None:
                break
            # The record that has won must reach every node that the other one may have reached.
            newest = evolve(newest, replication=max(newest.replication, record.replication))
            settled = await self.holders.store(newest, quorum.wanted, deadline, copy=True)
            if not settled.outranked:
                break
        if newest is not None and newest.value == record.value and settled.holds_group:
            # Not where most of the group remember a greater number that has expired: no read returns it.
            return _receipt(settled)
        return _refused(quorum.wanted, PutReason.CONFLICT, quorum.receipts, record.version)


def _refused(wanted: int, reason: PutReason, stored: int = 0, version: int = 0) -> Receipt:
    return Receipt(PutOutcome.NOT_STORED, stored, wanted, reason, version)


def _receipt(quorum: WriteQuorum) -> Receipt:
    """Return the receipt of a record that no other outranks."""
    stored, wanted, version = quorum.receipts, quorum.wanted, quorum.record.version
    if not quorum.succeeded:
        return Receipt(PutOutcome.NOT_STORED, stored, wanted, quorum.reason, version)
    outcome = PutOutcome.STORED if stored >= wanted else PutOutcome.STORED_BY_ALL
    return Receipt(outcome, stored, wanted, PutReason.NONE, version)


_REASONS = {
    PutReason.NOT_READY: "the node is not ready",
    PutReason.NO_ROOM: "holders are full or cannot write",
    PutReason.WRITER_SHARE: "holders accept no more bytes from this node",
    PutReason.CONFLICT: "its key has content, or a newer record of its owner",
    PutReason.TOO_FEW_HOLDERS: "too few of the nodes that should hold it answered",
    PutReason.NOT_AUTHENTIC: "its value does not match its key or its signature",
}
