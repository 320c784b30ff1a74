"""RENEW: lets a record live on at its holders, without changing it.

A renewal is no write: it must not bring back what somebody has replaced. So the node first asks the holders
what they have. If they have the record itself, or nothing that ever outranked it, it is stored again with its
own version. A holder refuses a version that has expired there. An open record then gets a version that is
greater by one. That is still below the version of every later write, because a version is the time of its
write. An owner's version is signed and cannot change; holders take the record again when they have forgotten
that it expired.
"""

from collections.abc import Sequence

from attrs import define, evolve, frozen
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, OPERATION_TIMEOUT
from dht14.node.get import Comparison, RecordReader
from dht14.node.holders import Holders
from dht14.node.write_quorum import WriteQuorum
from dht14.records.kept import KeptState, RenewalFailure
from dht14.records.receipt import PutReason
from dht14.records.record import Kind, Record

_FAILURES = {
    PutReason.NO_ROOM: RenewalFailure.NO_ROOM,
    PutReason.WRITER_SHARE: RenewalFailure.WRITER_SHARE,
    PutReason.NOT_AUTHENTIC: RenewalFailure.REFUSED,
}


@frozen
class Renewed:
    """Enough holders have this record now, for a whole time to live."""

    record: Record


@frozen
class Replaced:
    """The record must not be renewed any more."""

    state: KeptState


@frozen
class NotRenewed:
    """The renewal failed; it can be tried again."""

    failure: RenewalFailure
    newest: Record | None = None
    """What the owner has written since, if that is known; from now on it is the one to renew."""


Renewal = Renewed | Replaced | NotRenewed


@define(eq=False)
class RecordRenewer:
    """The renewals of one node."""

    _clock: IReactorTime
    _reader: RecordReader
    _holders: Holders

    async def renew(self, record: Record, ttl: int, near: Sequence[Contact]) -> Renewal:
        """Let the record live for another `ttl` seconds at as many holders as its replication says.

        `near`: the nodes nearest to the key, where the caller has looked them up already.
        """
        deadline = self._clock.seconds() + OPERATION_TIMEOUT
        record = self._reader.dated(record)
        if record.kind is not Kind.CONTENT:
            compared = await self._reader.compare(record, near, OPERATION_TIMEOUT / 2)
            judged = judge_renewal(record, compared)
            if not isinstance(judged, Record):
                return judged
            record = judged
        wanted = record.replication
        record = evolve(
            record, expires_at=self._clock.seconds() + ttl, replication=max(record.replication, GROUP)
        )
        quorum = await self._holders.store(record, wanted, deadline, copy=True, near=near)
        if _met_own_floor(quorum) and record.kind is Kind.OPEN:
            record = evolve(record, version=record.version + 1)
            quorum = await self._holders.store(record, wanted, deadline, copy=True, near=near)
        failure = _failure_of(quorum)
        if failure is RenewalFailure.NONE:
            return Renewed(record)
        return NotRenewed(failure, record if record.kind is Kind.OWNER else None)


def judge_renewal(record: Record, compared: Comparison) -> Record | Replaced | NotRenewed:
    """Return the record that may be renewed after this comparison: an open record, or an owner's; or why none
    may be."""
    best = compared.best
    if best is not None and best.rank > record.rank:
        if best.kind is Kind.OWNER and record.kind is Kind.OWNER:
            # What the owner has signed is proven, and a client that keeps the key wants the newest.
            newest = evolve(best, replication=record.replication, writer=record.writer, writer_subnet=b"")
            return Replaced(KeptState.DELETED) if best.is_tombstone else newest
        if best.value != record.value:
            return Replaced(KeptState.REPLACED)
        record = evolve(record, version=best.version)  # Another node has renewed it after it expired.
    elif compared.is_over:
        return Replaced(KeptState.REPLACED)
    elif not compared.is_complete:
        return NotRenewed(RenewalFailure.UNANSWERED)
    return record


def _met_own_floor(quorum: WriteQuorum) -> bool:
    """Whether a holder refuses the record only because it has expired there. Holders that claim to have a
    greater version have not shown it."""
    return quorum.is_outranked_by(quorum.record.version)


def _failure_of(quorum: WriteQuorum) -> RenewalFailure:
    if quorum.succeeded and quorum.holds_group:
        return RenewalFailure.NONE
    if _met_own_floor(quorum) and quorum.record.kind is Kind.OWNER:
        return RenewalFailure.LAPSED
    if quorum.outranked:
        return RenewalFailure.OUTRANKED
    return _FAILURES.get(quorum.reason, RenewalFailure.TOO_FEW_HOLDERS)
