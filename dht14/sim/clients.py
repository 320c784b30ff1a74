"""Many clients that write and read the same few keys at once, while nodes come, go and lie.

What each of them was told goes into the history, which judges every get. Copies are from 1 to 20, as each
client likes: a key has old copies where new ones are not.
"""

import random
from collections.abc import Callable
from contextlib import nullcontext
from enum import Enum
from functools import partial

from attrs import define, evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import MAX_REPLICATION, REPLICATION
from dht14.node.node import Node
from dht14.records.envelope import key_of_owner
from dht14.records.record import Kind
from dht14.records.signing import public_key_of, seal
from dht14.sim.attacks import HOSTILE_RESPONDERS, spread_out
from dht14.sim.history import GetVerdict
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.run import SETTLE, ScenarioRun
from dht14.sim.scenario import Script
from dht14.sim.scripts import disks

GETS = 20
"""For each put: half of them soon after it, half at any time."""

SOON_SECONDS = 3.0
"""Seconds after a put, at most, within which gets come that must see it: one in three within a tenth."""

QUIET_EVERY, QUIETNESS = 4, 8
"""One in so many keys is quiet, and put so many times as seldom as others."""

PARTITION_AT = 60.0
"""Seconds from the beginning."""


@frozen
class Workload:
    """How clients work. Parts are of the puts."""

    seconds: float = 300.0
    """How long."""
    put_interval: float = 12.0
    """Seconds between two puts of a key, on average."""
    copies: tuple[int, int] = (1, MAX_REPLICATION)
    """That a put asks for, at least and at most."""
    short_ttls: float = 0.1
    """Live for a minute only; of a quiet key, one that is put so seldom that it expires, half of them do."""
    deletions: float = 0.1
    """Of an owner's: take away what is there."""
    junk: float = 0.1
    """Under content and owner keys: other bytes, in as many copies as can be asked for."""


@frozen
class FaultPlan:
    """What goes wrong meanwhile. Rates are per minute; with rates of 0 nothing does."""

    restarts: float = 0.0
    """Nodes killed that come back, with their disks, 2 to 60 s later."""
    deaths: float = 0.0
    """Nodes killed for good, each of them replaced by another one within a minute."""
    joins: float = 0.0
    """Nodes that join besides."""
    clock_steps: float = 0.0
    """Wall clocks that are set wrong, by up to an hour."""
    partition_seconds: float = 0.0
    """Seconds for which one half of the nodes is kept apart from the other, once, from a minute on."""
    hostile_share: float = 0.0
    """Part of the nodes that are hostile."""


DEFAULT_WORKLOAD = Workload()


@define(eq=False)
class Register:
    """One key that everybody writes and reads. What `next` puts under it is fit for it."""

    kind: Kind
    key: int
    _value: bytes
    is_quiet: bool = False
    _owner: Ed25519PrivateKey | None = None
    _seq: int = 0

    @classmethod
    def of(cls, turn: int, rng: random.Random) -> "Register":
        """The key of this number: the kinds take turns."""
        kind, is_quiet, value = Kind(1 + turn % len(Kind)), turn % QUIET_EVERY == 0, rng.randbytes(40)
        if kind is Kind.CONTENT:
            return cls(kind, hash_id(value), value, is_quiet)
        if kind is Kind.OPEN:
            return cls(kind, random_id(rng), b"", is_quiet)
        owner = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        return cls(kind, key_of_owner(public_key_of(owner), b""), b"", is_quiet, owner)

    def has_short_ttl(self, rng: random.Random, short_ttls: float) -> bool:
        """Whether what is put next is for a minute only."""
        return rng.random() < (0.5 if self.is_quiet else short_ttls)

    def next(self, rng: random.Random, deletions: float) -> bytes:
        """What is put next: the same content, any value, or what the owner says now. Every fifth of an owner's
        records has a number that was given before: on another device, at the same time perhaps."""
        if self._owner is None:
            return self._value or rng.randbytes(40)
        self._seq += self._seq == 0 or rng.random() < 0.8
        payload = b"" if rng.random() < deletions else rng.randbytes(40)
        return seal(self._owner, self._seq, payload).encode()


class AfterKill(Enum):
    """How a node that was killed comes back."""

    RESTARTED = "same"
    """With its disk."""
    REPLACED = "another"
    """Another node takes its place."""


@define(eq=False)
class SimulatedClients:
    """What clients and bad luck do; all times are drawn from the world's chance."""

    _run: ScenarioRun
    _faults: FaultPlan
    _workload: Workload
    _registers: list[Register]
    _ends: float = field(init=False)
    puts: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    _newest: Register | None = field(default=None, init=False)
    """Of which a put was acknowledged last."""
    killed: int = field(default=0, init=False)
    """Nodes that were killed."""

    def run(self) -> None:
        """Let them work, and wait until all of it is over."""
        run, rng, faults, workload = self._run, self._run.world.rng, self._faults, self._workload
        self._ends = run.now + workload.seconds
        puts = 60.0 / workload.put_interval
        for register in self._registers:
            self._at_random(puts / QUIETNESS if register.is_quiet else puts, partial(self._put, register))
        self._at_random(
            GETS / 2 * puts * len(self._registers), lambda: self._get(rng.choice(self._registers))
        )
        self._at_random(faults.restarts, partial(self._kill, AfterKill.RESTARTED))
        self._at_random(faults.deaths, partial(self._kill, AfterKill.REPLACED))
        self._at_random(faults.joins, self._join)
        self._at_random(faults.clock_steps, self._set_clock)
        if faults.partition_seconds:
            run.world.clock.post(PARTITION_AT, self._part, None)
            run.world.clock.post(PARTITION_AT + faults.partition_seconds, self._heal, None)
        run.wait(workload.seconds + SETTLE)

    def _at_random(self, per_minute: float, act: Callable[[], None]) -> None:
        """Do this so often from now on, at moments that know nothing of each other."""
        world = self._run.world

        def turn(_: object) -> None:
            if self._run.now < self._ends:
                act()
                world.clock.post(world.rng.expovariate(per_minute / 60.0), turn, None)

        if per_minute:
            world.clock.post(world.rng.expovariate(per_minute / 60.0), turn, None)

    def _caller(self) -> Node | None:
        callers = self._joined()
        return self._run.world.rng.choice(callers).stack.node if callers else None

    def _put(self, register: Register) -> None:
        node, rng = self._caller(), self._run.world.rng
        if node is None:
            return
        workload = self._workload
        if register.kind is not Kind.OPEN and rng.random() < workload.junk:
            value, copies = rng.randbytes(40), MAX_REPLICATION
        else:
            value, copies = register.next(rng, workload.deletions), rng.randint(*workload.copies)
        self.puts += 1
        ttl = 60 if register.has_short_ttl(rng, workload.short_ttls) else 0
        self._run.write(register.key, value, ttl, copies, node).addCallback(self._put_ended, register)

    def _put_ended(self, acknowledged: bool, register: Register) -> None:
        self.acknowledged += acknowledged
        world = self._run.world
        for _ in range(GETS // 2):
            world.clock.post(SOON_SECONDS * world.rng.random() ** 3, lambda _: self._get(register), None)
        if acknowledged:
            self._newest = register

    def _get(self, register: Register) -> None:
        node = self._caller()
        if node is not None:
            self._run.read(register.key, node)

    # Bad luck

    def _kill(self, after: AfterKill) -> None:
        """Every second node that is killed has just taken part in a put, perhaps: a holder of the newest value."""
        world = self._run.world
        nodes = self._joined()
        if not nodes:
            return
        if self._newest is not None and world.rng.random() < 0.5:
            key = self._newest.key
            nodes = sorted(nodes, key=lambda node: node.contact.node_id ^ key)[:REPLICATION]
        node = world.rng.choice(nodes)
        self.killed += 1
        world.kill(node)
        world.clock.post(world.rng.uniform(2.0, 60.0), lambda _: self._restart(node, after), None)

    def _restart(self, node: VirtualNode, after: AfterKill) -> None:
        if after is AfterKill.REPLACED:
            self._run.world.replace(node.number)
        self._run.world.start(node.number)

    def _join(self) -> None:
        self._run.world.start(self._run.world.add())

    def _set_clock(self) -> None:
        world, nodes = self._run.world, self._joined()
        if nodes:
            world.set_clock(world.rng.choice(nodes), world.rng.uniform(-3600.0, 3600.0))

    def _part(self, _: object) -> None:
        world = self._run.world
        world.part(range(0, world.size, 2))
        self._run.history.partitioned()

    def _heal(self, _: object) -> None:
        self._run.world.part()
        self._run.history.healed(self._run.world.clock.seconds())

    def _joined(self) -> list[VirtualNode]:
        return [node for node in self._run.world.callers() if node.stack.join.joined]


def history(faults: FaultPlan, workload: Workload = DEFAULT_WORKLOAD) -> Script:
    """Clients at work on a few keys of each kind; what they were told is a history without a flaw."""

    def script(run: ScenarioRun) -> None:
        world = run.world
        run.history.availability = world.availability
        if faults.hostile_share:
            _make_hostile(run, faults.hostile_share)
        registers = [Register.of(turn, world.rng) for turn in range(run.values)]
        clients = SimulatedClients(run, faults, workload, registers)
        with disks(run) if faults.restarts else nullcontext():
            run.join()
            clients.run()
        _report(run, clients)

    return script


def _make_hostile(run: ScenarioRun, part: float) -> None:
    spread_out(run)
    hosts = [host for host in run.world.hosts if host.role is NodeRole.NODE]
    for turn, host in enumerate(run.world.rng.sample(hosts, round(part * len(hosts)))):
        run.world.set_host(evolve(host, make_responder=HOSTILE_RESPONDERS[turn % len(HOSTILE_RESPONDERS)]))


def _report(run: ScenarioRun, clients: SimulatedClients) -> None:
    history = run.history
    run.notes["puts"] = clients.puts
    run.notes["puts acknowledged"] = clients.acknowledged
    run.notes["nodes killed"] = clients.killed
    run.notes["right gets older than an earlier one"] = history.returned
    for kind in Kind:
        counts = {verdict: history.count(verdict, kind) for verdict in GetVerdict}
        name = f"{kind.name.lower()} keys"
        run.notes[f"{name}: gets"] = sum(counts.values())
        good = counts.pop(GetVerdict.RIGHT), counts.pop(GetVerdict.EXCUSED)
        run.notes[f"{name}: excused"] = good[1]
        run.notes |= {f"{name}: {verdict.value}": count for verdict, count in counts.items() if count}
        run.promise(f"{name}: gets that break a promise", sum(counts.values()), at_most=0)
