"""The scenario `growth`: what operations and upkeep cost in a network of a given size, where nothing fails.

`scripts/growth.py` runs it at several sizes, and fills docs/growth.md.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from math import log2
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.kademlia.parameters import K
from dht14.kademlia.routing_table import bucket_capacity
from dht14.node.node import Node
from dht14.security.identity import PROOF_BYTES
from dht14.session.plaintext import PLAIN
from dht14.session.session import MIN_DATA_BYTES
from dht14.sim.host import Operation
from dht14.sim.operations import GetVerdict
from dht14.sim.run import MINUTE, SETTLE, GetResult, ScenarioRun, success_share, verdicts_of
from dht14.sim.scenario import Script
from dht14.sim.statistics import PhaseStatistics
from dht14.wire.messages import Inventory, Lacking, Offer, Outranked, Refused, Store, Stored, Wanted
from dht14.wire.schema import SCHEMA

UPKEEP = 30 * MINUTE
"""Without clients, before any record is checked. Each bucket is refreshed twice in it."""

CHECKS = 40 * MINUTE
"""After that. Where no node fails, each record is checked once an hour, for the first time in these
minutes."""

GETS_PER_VALUE = 2

OPERATIONS_GAP = 20.0
"""Seconds between two operations at one node: what it does for others meanwhile is little beside its own."""

OF_RECORDS = (Inventory, Lacking, Offer, Wanted, Store, Stored, Outranked, Refused)
"""The messages by which nodes keep the copies of records."""

MESSAGE_AT = len(PLAIN) + PROOF_BYTES
"""Where the message of a plain datagram begins."""

SEALED_BYTES = MIN_DATA_BYTES - MESSAGE_AT
"""What a sealed datagram of an open session has more than a plain one: less than nothing, since it does not
name its sender."""

TWO_BYTES = 0x18
"""The first byte of a code that takes two."""

MAX_ABOVE = 0.5
"""Hops by which a mean get may exceed the expectation with buckets of K contacts. Wider ones fill slowly."""


def expected_hops(nodes: int, capacity: Callable[[int], int] = bucket_capacity) -> float:
    """Return the hops of a mean lookup among `nodes` nodes whose buckets have this capacity, by depth.

    A node that shares `depth` bits with the key has `nodes` / 2^(depth + 1) others in the range of the key.
    Where its bucket holds all of them, their answers end the lookup: one hop. Where it holds c of them, the
    nearest of these shares log2(c) bits more than the range does, and the lookup goes on from there.
    """
    mean, depth = 0.0, 0
    while nodes >> depth > 1:
        mean += _hops_from(depth, nodes, capacity) / 2.0 ** (depth + 1)
        depth += 1
    return mean + 1 / 2.0**depth  # All other keys are at the node itself.


def _hops_from(depth: float, nodes: int, capacity: Callable[[int], int]) -> int:
    hops = 1
    while nodes / 2 ** (depth + 1) > capacity(int(depth)):
        depth += 1 + log2(capacity(int(depth)))
        hops += 1
    return hops


def expected_contacts(nodes: int) -> float:
    """Return the contacts in the table of a mean node among `nodes`, when all its buckets are full."""
    return sum(min(nodes / 2.0 ** (depth + 1), bucket_capacity(depth)) for depth in range(nodes.bit_length()))


@define
class Meter:
    """Counts the datagrams that nodes send, and their bytes as if sealed, by message."""

    datagrams: Counter[type] = field(factory=Counter)
    sizes: Counter[type] = field(factory=Counter)

    def sent(self, datagram: bytes) -> None:
        """A node sends this plain datagram. One of the probe port has no message: it counts as `object`."""
        kind: type = object
        if datagram.startswith(PLAIN):
            code, second = datagram[MESSAGE_AT + 10 : MESSAGE_AT + 12].ljust(2, b"\0")
            kind = SCHEMA[second if code == TWO_BYTES else code].message
        self.datagrams[kind] += 1
        self.sizes[kind] += len(datagram) + SEALED_BYTES


def growth(upkeep: bool = True) -> Script:
    """Return a script: clients put and get where nothing fails. With `upkeep` they rest then until every
    record has been checked once, and get again."""

    def script(run: ScenarioRun) -> None:
        joined = run.join()
        _note_tables(run, "just joined")
        run.phases["joins"] = PhaseStatistics.of(joined, sum(join.result for join in joined))
        stored = _put(run)
        run.promise("nodes joined", success_share(joined), at_least=1)
        run.promise_acknowledged("puts acknowledged", stored, at_least=1)
        _get(run, "gets")
        if upkeep:
            _note_upkeep(run)
            _get(run, "later gets")
        run.world.check_invariants()

    return script


def _note_tables(run: ScenarioRun, when: str) -> None:
    tables = [len(node.stack.table) for node in run.nodes()]
    run.notes[f"contacts in a table, {when}"] = sum(tables) / len(tables)


def _put(run: ScenarioRun) -> list[Operation[bool]]:
    """Put the values, each at another node, and record the phase."""
    puts = [partial(run.write, key, run.new_value(), 0, 0) for key in run.random_keys(run.values)]
    stored = run.world.run_operations(puts, gap=OPERATIONS_GAP)
    run.world.wait(SETTLE)
    run.phases["puts"] = PhaseStatistics.of(stored, sum(put.result for put in stored))
    run.notes["bytes of puts"] = _mean_bytes(stored)
    return stored


def _get(run: ScenarioRun, phase: str) -> None:
    """Get the values, each time at another node, and record the phase and its hops."""
    world, hops = run.world, Counter[int]()

    def get(key: int, node: Node) -> "Deferred[GetResult]":
        before = Counter(node.lookups_by_hops)

        def ended(result: GetResult) -> GetResult:
            hops.update(node.lookups_by_hops - before)
            return result

        return run.read(key, node).addCallback(ended)

    keys = world.rng.choices([write.key for write in run.acknowledged()], k=GETS_PER_VALUE * run.values)
    found = world.run_operations([partial(get, key) for key in keys], gap=OPERATIONS_GAP)
    verdicts = verdicts_of(found)
    run.phases[phase] = PhaseStatistics.of(found, verdicts[GetVerdict.RIGHT])
    run.hops += hops
    run.notes[f"bytes of {phase}"] = _mean_bytes(found)
    mean = run.notes[f"hops of {phase}"] = sum(hop * count for hop, count in hops.items()) / hops.total()
    run.promise_right(f"{phase} right", verdicts, at_least=1)
    run.promise(f"hops of {phase}", mean, at_most=expected_hops(world.size, lambda depth: K) + MAX_ABOVE)


def _mean_bytes(operations: Sequence[Operation[Any]]) -> float:
    """Return the bytes of a mean operation, had its datagrams been sealed."""
    count: int = sum(operation.bytes + operation.datagrams * SEALED_BYTES for operation in operations)
    return count / max(1, len(operations))


def _note_upkeep(run: ScenarioRun) -> None:
    """Measure the upkeep of nodes, and then that of records."""
    world, notes, meter = run.world, run.notes, Meter()
    world.network.observer = meter.sent
    world.wait(UPKEEP)
    minutes = world.size * UPKEEP / MINUTE
    notes["datagrams per node and minute"] = meter.datagrams.total() / minutes
    notes["bytes per node and minute"] = meter.sizes.total() / minutes
    for kind, count in sorted(meter.datagrams.items(), key=lambda item: item[0].__name__):
        notes[f"{kind.__name__} per node and minute"] = count / minutes
    _note_tables(run, "after half an hour")
    world.wait(CHECKS)
    records = len(run.acknowledged())
    notes["datagrams per record and check"] = sum(meter.datagrams[kind] for kind in OF_RECORDS) / records
    notes["bytes per record and check"] = sum(meter.sizes[kind] for kind in OF_RECORDS) / records
    world.network.observer = None
