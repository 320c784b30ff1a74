"""Concurrent clients that write and read the same few keys, while faults are injected.

All invocations and responses go into the history, which gives each get its verdict. Each put asks for 1 to 20
copies: so old copies of a key remain at nodes that do not get the new value.
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
from dht14.records.signing import public_key_of, sign_envelope
from dht14.sim.attacks import HOSTILE_RESPONDERS, spread_out
from dht14.sim.clock import ProcessState
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.host_scripts import disks
from dht14.sim.operations import GetVerdict
from dht14.sim.run import SETTLE, ScenarioRun
from dht14.sim.scenario import Script

GETS = 20
"""Per put: half of them soon after it, half at random times."""

SOON_SECONDS = 3.0
"""Seconds after the response to a put within which half of its gets start, one in three of these within 0.1
s."""

QUIET_EVERY, QUIETNESS = 4, 8
"""One in QUIET_EVERY keys is quiet: clients put it QUIETNESS times less often than the others."""

PARTITION_AT = 60.0
"""Seconds after the clients start."""


@frozen
class Workload:
    """The mix of operations. Shares are of the puts."""

    seconds: float = 300.0
    """Duration."""
    put_interval: float = 12.0
    """Mean seconds between two puts of a key."""
    copies: tuple[int, int] = (1, MAX_REPLICATION)
    """The fewest and the most that a put asks for."""
    short_ttls: float = 0.1
    """Puts that expire after a minute. Of a quiet key half of the puts do: the next one comes after the
    expiry."""
    deletions: float = 0.1
    """Of an owner's puts: deletions."""
    junk: float = 0.1
    """Of the puts under content and owner keys: other bytes, with the largest replication."""


@frozen
class FaultPlan:
    """The faults that are injected. Rates are per minute; 0 is none."""

    restarts: float = 0.0
    """Nodes that are killed and start again with their disks 2 to 60 s later."""
    freezes: float = 0.0
    """Nodes that are stopped, and continue 1 to 60 s later."""
    hangs: float = 0.0
    """Disks that say nothing for 1 to 60 s."""
    deaths: float = 0.0
    """Nodes that are killed for good; a new node replaces each within a minute."""
    joins: float = 0.0
    """New nodes that join."""
    clock_steps: float = 0.0
    """Wall clocks that are set wrong by up to an hour, all of the same third of the nodes: the promises need
    most clocks to be right."""
    partition_seconds: float = 0.0
    """Seconds of one partition into two halves; it begins after PARTITION_AT."""
    hostile_share: float = 0.0
    """The share of hostile nodes."""


DEFAULT_WORKLOAD = Workload()


@define(eq=False)
class Register:
    """One key that all clients write and read. `next` returns only values that are valid under it."""

    kind: Kind
    key: int
    _value: bytes
    is_quiet: bool = False
    _owner: Ed25519PrivateKey | None = None
    _seq: int = 0

    @classmethod
    def of(cls, turn: int, rng: random.Random) -> "Register":
        """Return register number `turn`: the kinds take turns."""
        kind, is_quiet, value = Kind(1 + turn % len(Kind)), turn % QUIET_EVERY == 0, rng.randbytes(40)
        if kind is Kind.CONTENT:
            return cls(kind, hash_id(value), value, is_quiet)
        if kind is Kind.OPEN:
            return cls(kind, random_id(rng), b"", is_quiet)
        owner = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        return cls(kind, key_of_owner(public_key_of(owner), b""), b"", is_quiet, owner)

    def has_short_ttl(self, rng: random.Random, short_ttls: float) -> bool:
        """Whether the next put expires after a minute."""
        return rng.random() < (0.5 if self.is_quiet else short_ttls)

    def next(self, rng: random.Random, deletions: float) -> bytes:
        """Return the next value: the same content, random bytes, or an owner's record. Every fifth owner's
        record repeats a number, as a second device of the owner can."""
        if self._owner is None:
            return self._value or rng.randbytes(40)
        self._seq += self._seq == 0 or rng.random() < 0.8
        payload = b"" if rng.random() < deletions else rng.randbytes(40)
        return sign_envelope(self._owner, self._seq, payload).encode()


class AfterKill(Enum):
    """What happens after a node was killed."""

    RESTARTED = "same"
    """It starts again with its disk."""
    REPLACED = "another"
    """A new node replaces it."""


@define(eq=False)
class SimulatedClients:
    """The clients and the fault injection of one run; the random source of the world draws all times."""

    _run: ScenarioRun
    _faults: FaultPlan
    _workload: Workload
    _registers: list[Register]
    _ends: float = field(init=False)
    puts: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    _newest: Register | None = field(default=None, init=False)
    """The register of the last acknowledged put."""
    killed: int = field(default=0, init=False)
    """Nodes that were killed."""

    def run(self) -> None:
        """Start all clients and faults, and wait until they end."""
        run, rng, faults, workload = self._run, self._run.world.rng, self._faults, self._workload
        self._ends = run.now + workload.seconds
        puts = 60.0 / workload.put_interval
        for register in self._registers:
            self._at_random(puts / QUIETNESS if register.is_quiet else puts, partial(self._put, register))
        self._at_random(
            GETS / 2 * puts * len(self._registers), lambda: self._get(rng.choice(self._registers))
        )
        self._at_random(faults.restarts, partial(self._kill, AfterKill.RESTARTED))
        self._at_random(faults.freezes, self._freeze)
        self._at_random(faults.hangs, self._hang)
        self._at_random(faults.deaths, partial(self._kill, AfterKill.REPLACED))
        self._at_random(faults.joins, self._join)
        self._at_random(faults.clock_steps, self._set_clock)
        if faults.partition_seconds:
            run.world.clock.post(PARTITION_AT, self._part, None)
            run.world.clock.post(PARTITION_AT + faults.partition_seconds, self._heal, None)
        run.wait(workload.seconds + SETTLE)

    def _at_random(self, per_minute: float, act: Callable[[], None]) -> None:
        """Call `act` at random times (a Poisson process) until the clients end."""
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

    # Fault injection

    def _kill(self, after: AfterKill) -> None:
        """Kill a random node; every second time one of the nodes nearest to the key of the last put, which
        may hold it."""
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

    def _freeze(self) -> None:
        world, nodes = self._run.world, self._joined()
        if nodes:
            node = world.rng.choice(nodes)
            world.freeze(node)
            world.clock.post(world.rng.uniform(1.0, 60.0), lambda _: self._thaw(node), None)

    def _thaw(self, node: VirtualNode) -> None:
        if node.process.state is ProcessState.FROZEN:
            self._run.world.thaw(node)

    def _hang(self) -> None:
        world, nodes = self._run.world, [node for node in self._joined() if node.host.disk is not None]
        if nodes:
            node = world.rng.choice(nodes)
            world.hang_disk(node)
            world.clock.post(world.rng.uniform(1.0, 60.0), lambda _: world.mend_disk(node), None)

    def _join(self) -> None:
        self._run.world.start(self._run.world.add())

    def _set_clock(self) -> None:
        world, nodes = self._run.world, self._joined()
        nodes = [node for node in nodes if node.number % 3 == 0]
        if nodes:
            world.set_clock(world.rng.choice(nodes), world.rng.uniform(-3600.0, 3600.0))

    def _part(self, _: object) -> None:
        self._run.partition(range(0, self._run.world.size, 2))

    def _heal(self, _: object) -> None:
        self._run.heal()

    def _joined(self) -> list[VirtualNode]:
        return [node for node in self._run.world.callers() if node.stack.join.joined]


def history(faults: FaultPlan, workload: Workload = DEFAULT_WORKLOAD) -> Script:
    """Return a script: clients use a few keys of each kind under these faults, and no get breaks a
    promise."""

    def script(run: ScenarioRun) -> None:
        world = run.world
        run.history.availability = world.availability
        if faults.hostile_share:
            _make_hostile(run, faults.hostile_share)
        registers = [Register.of(turn, world.rng) for turn in range(run.values)]
        clients = SimulatedClients(run, faults, workload, registers)
        with disks(run) if faults.restarts or faults.hangs else nullcontext():
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
