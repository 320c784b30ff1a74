"""Faults that a network of the shipped code must not have, brought back one by one: the history must find
each.

A store is put in the place of the shipped one with `self.patch(world, "MemoryStore", …)`, an operation with
`self.patch(Node, "get", …)`.
"""

from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from dht14.kademlia.parameters import K
from dht14.node.node import Node
from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.records.record import Kind, Record, proven, version_at
from dht14.records.store import Outcome, Verdict
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import FindValue, Reply, Store, Stored, Value

HOUR = 3600.0


class WholeCopies(MemoryStore):
    """Of two copies of one write it keeps the one with the later expiry, replication included: a put with
    fewer copies and a longer life takes copies away."""

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        held = self.get(record.key, now)
        super().offer(record, now, on_verdict)
        if held is not None and held.rank == record.rank and held.expires_at < record.expires_at:
            self._hold(record)


class Unexpiring(MemoryStore):
    """Still returns expired values, like a host whose clock was set back by an hour."""

    def get(self, key: int, now: float) -> Record | None:
        record = super().get(key, now - HOUR)
        return evolve(record, expires_at=max(record.expires_at, now + 60)) if record is not None else None


class Undeleting(MemoryStore):
    """Acknowledges deletions without deleting."""

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        if record.is_tombstone:
            on_verdict(Verdict(Outcome.HELD, record.version))
        else:
            super().offer(record, now, on_verdict)


GetResult = Record | NoRecord


def get_from_any_three(node: Node, key: int) -> "Deferred[GetResult]":
    """Asks four of the nodes around the key, and returns the newest of the first three values."""
    contacts, clock = node.table.closest(key, K), node._lookups.clock
    first = int(clock.seconds() * 1000) % max(len(contacts) - 4, 1)
    asked = contacts[first : first + 4]
    heard: list[Record] = []
    missing = len(asked)
    result: Deferred[GetResult] = Deferred()

    def answered(reply: Reply | None) -> None:
        nonlocal missing
        missing -= 1
        if isinstance(reply, Value):
            heard.append(
                Record(
                    key=key,
                    value=reply.value,
                    version=reply.version,
                    expires_at=0,
                    replication=reply.replication,
                )
            )
        if not result.called and (len(heard) == 3 or not missing):
            newest = max(heard, key=lambda record: record.rank, default=None)
            result.callback(NoRecord.NOT_FOUND if newest is None or newest.is_tombstone else newest)

    for contact in asked:
        node._lookups._rpc.ask(contact, FindValue(key)).addErrback(lambda _: None).addCallback(answered)
    return result


def get_from_own_store(get: "Callable[[Node, int], Deferred[GetResult]]") -> Callable[..., object]:
    """Asks no other node when its own store has a record."""

    def mutant(node: Node, key: int) -> "Deferred[GetResult]":
        store, now = node._reader._store, node._lookups.clock.seconds()
        held = store.get(key, now) if store else None
        return get(node, key) if held is None or held.is_tombstone else succeed(held)

    return mutant


def put_for_one_receipt(
    node: Node, key: int, value: bytes, ttl: int, replication: int
) -> "Deferred[Receipt]":
    """Asks the nearest node to hold the value, and acknowledges the put when that node has it."""
    now = node._lookups.clock.seconds()
    record = Record(
        key=key,
        value=value,
        version=0,
        expires_at=now + node._writer._policy.ttl(ttl),
        replication=replication,
    )
    version = proven(record).version if record.is_owned else version_at(now)
    if record.kind is Kind.CONTENT:
        version = 0
    store = Store(key, version, record.remaining_ms(now), replication, 0, value)
    nearest = node.table.closest(key, 1)
    missing = len(nearest)
    result: Deferred[Receipt] = Deferred()

    def answered(reply: Reply | None) -> None:
        nonlocal missing
        missing -= 1
        if not result.called and (isinstance(reply, Stored) or not missing):
            is_stored = isinstance(reply, Stored)
            result.callback(Receipt(PutOutcome.STORED if is_stored else PutOutcome.NOT_STORED))

    for contact in nearest:
        node._lookups._rpc.ask(contact, store).addErrback(lambda _: None).addCallback(answered)
    return result


def put_before_commit(put: Callable[..., None]) -> Callable[..., None]:
    """Reports the verdict on a record before its transaction; in the place of `GroupCommit.put`."""

    def mutant(commits: object, slot, record, entry, growth, on_verdict, verdict):
        on_verdict(verdict)
        put(commits, slot, record, entry, growth, lambda verdict: None, verdict)

    return mutant
