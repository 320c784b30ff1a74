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
from dht14.records.signing import public_key_of, sign_envelope
from dht14.sim.attacks import HOSTILE_WAYS, spread_out
from dht14.sim.history import Judgement
from dht14.sim.host import HostRole, VirtualNode
from dht14.sim.run import SETTLE, ScenarioRun
from dht14.sim.scenario import Script
from dht14.sim.scripts import disks

GETS = 20
"""For each put: half of them soon after it, half at any time."""

SOON = 3.0
"""Seconds after a put, at most, within which gets come that must see it: one in three within a tenth."""

QUIET, QUIETNESS = 4, 8
"""One in so many keys is quiet, and put so many times as seldom as others."""

PARTED_AT = 60.0
"""Seconds from the beginning."""


@frozen
class Habits:
    """How clients work. Parts are of the puts."""

    seconds: float = 300.0
    """How long."""
    put_interval: float = 12.0
    """Seconds between two puts of a key, on average."""
    copies: tuple[int, int] = (1, MAX_REPLICATION)
    """That a put asks for, at least and at most."""
    short_lives: float = 0.1
    """Live for a minute only; of a quiet key, one that is put so seldom that it expires, half of them do."""
    deletions: float = 0.1
    """Of an owner's: take away what is there."""
    junk: float = 0.1
    """Under content and owner keys: other bytes, in as many copies as can be asked for."""


@frozen
class Faults:
    """What goes wrong meanwhile. Rates are per minute; with rates of 0 nothing does."""

    restarts: float = 0.0
    """Nodes killed that come back, with their disks, 2 to 60 s later."""
    deaths: float = 0.0
    """Nodes killed for good, each of them replaced by another one within a minute."""
    joins: float = 0.0
    """Nodes that join besides."""
    steps: float = 0.0
    """Wall clocks that are set wrong, by up to an hour."""
    parted: float = 0.0
    """Seconds for which one half of the nodes is kept apart from the other, once, from a minute on."""
    liars: float = 0.0
    """Part of the nodes that are hostile."""


USUAL = Habits()


@define(eq=False)
class Subject:
    """One key that everybody writes and reads. What `next` puts under it is fit for it."""

    kind: Kind
    key: int
    _value: bytes
    is_quiet: bool = False
    _owner: Ed25519PrivateKey | None = None
    _seq: int = 0

    @classmethod
    def of(cls, turn: int, rng: random.Random) -> "Subject":
        """The key of this number: the kinds take turns."""
        kind, is_quiet, value = Kind(1 + turn % len(Kind)), turn % QUIET == 0, rng.randbytes(40)
        if kind is Kind.CONTENT:
            return cls(kind, hash_id(value), value, is_quiet)
        if kind is Kind.OPEN:
            return cls(kind, random_id(rng), b"", is_quiet)
        owner = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        return cls(kind, key_of_owner(public_key_of(owner), b""), b"", is_quiet, owner)

    def lives_shortly(self, rng: random.Random, short_lives: float) -> bool:
        """Whether what is put next is for a minute only."""
        return rng.random() < (0.5 if self.is_quiet else short_lives)

    def next(self, rng: random.Random, deletions: float) -> bytes:
        """What is put next: the same content, any value, or what the owner says now. Every fifth of an owner's
        records has a number that was given before: on another device, at the same time perhaps."""
        if self._owner is None:
            return self._value or rng.randbytes(40)
        self._seq += self._seq == 0 or rng.random() < 0.8
        payload = b"" if rng.random() < deletions else rng.randbytes(40)
        return sign_envelope(self._owner, self._seq, payload).encode()


class Return(Enum):
    """How a node that was killed comes back."""

    SAME = "same"
    """With its disk."""
    ANOTHER = "another"
    """Another node takes its place."""


@define(eq=False)
class SimulatedClients:
    """What clients and bad luck do; all times are drawn from the world's chance."""

    _stage: ScenarioRun
    _faults: Faults
    _habits: Habits
    _subjects: list[Subject]
    _ends: float = field(init=False)
    puts: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    _newest: Subject | None = field(default=None, init=False)
    """Of which a put was acknowledged last."""
    fallen: int = field(default=0, init=False)
    """Nodes that were killed."""

    def work(self) -> None:
        """Let them work, and wait until all of it is over."""
        stage, rng, faults, habits = self._stage, self._stage.world.rng, self._faults, self._habits
        self._ends = stage.now + habits.seconds
        puts = 60.0 / habits.put_interval
        for subject in self._subjects:
            self._at_random(puts / QUIETNESS if subject.is_quiet else puts, partial(self._put, subject))
        self._at_random(GETS / 2 * puts * len(self._subjects), lambda: self._get(rng.choice(self._subjects)))
        self._at_random(faults.restarts, partial(self._kill, Return.SAME))
        self._at_random(faults.deaths, partial(self._kill, Return.ANOTHER))
        self._at_random(faults.joins, self._join)
        self._at_random(faults.steps, self._set_clock)
        if faults.parted:
            stage.world.clock.post(PARTED_AT, self._part, None)
            stage.world.clock.post(PARTED_AT + faults.parted, self._heal, None)
        stage.wait(habits.seconds + SETTLE)

    def _at_random(self, per_minute: float, act: Callable[[], None]) -> None:
        """Do this so often from now on, at moments that know nothing of each other."""
        world = self._stage.world

        def turn(_: object) -> None:
            if self._stage.now < self._ends:
                act()
                world.clock.post(world.rng.expovariate(per_minute / 60.0), turn, None)

        if per_minute:
            world.clock.post(world.rng.expovariate(per_minute / 60.0), turn, None)

    def _caller(self) -> Node | None:
        callers = self._joined()
        return self._stage.world.rng.choice(callers).stack.node if callers else None

    def _put(self, subject: Subject) -> None:
        node, rng = self._caller(), self._stage.world.rng
        if node is None:
            return
        habits = self._habits
        if subject.kind is not Kind.OPEN and rng.random() < habits.junk:
            value, copies = rng.randbytes(40), MAX_REPLICATION
        else:
            value, copies = subject.next(rng, habits.deletions), rng.randint(*habits.copies)
        self.puts += 1
        ttl = 60 if subject.lives_shortly(rng, habits.short_lives) else 0
        self._stage.write(subject.key, value, ttl, copies, node).addCallback(self._told, subject)

    def _told(self, acknowledged: bool, subject: Subject) -> None:
        self.acknowledged += acknowledged
        world = self._stage.world
        for _ in range(GETS // 2):
            world.clock.post(SOON * world.rng.random() ** 3, lambda _: self._get(subject), None)
        if acknowledged:
            self._newest = subject

    def _get(self, subject: Subject) -> None:
        node = self._caller()
        if node is not None:
            self._stage.read(subject.key, node)

    # Bad luck

    def _kill(self, comes_back: Return) -> None:
        """Every second node that is killed has just taken part in a put, perhaps: a holder of the newest value."""
        world = self._stage.world
        nodes = self._joined()
        if not nodes:
            return
        if self._newest is not None and world.rng.random() < 0.5:
            key = self._newest.key
            nodes = sorted(nodes, key=lambda node: node.contact.node_id ^ key)[:REPLICATION]
        node = world.rng.choice(nodes)
        self.fallen += 1
        world.kill(node)
        world.clock.post(world.rng.uniform(2.0, 60.0), lambda _: self._come_back(node, comes_back), None)

    def _come_back(self, node: VirtualNode, comes_back: Return) -> None:
        if comes_back is Return.ANOTHER:
            self._stage.world.replace(node.number)
        self._stage.world.begin(node.number)

    def _join(self) -> None:
        self._stage.world.begin(self._stage.world.add())

    def _set_clock(self) -> None:
        world, nodes = self._stage.world, self._joined()
        if nodes:
            world.set_clock(world.rng.choice(nodes), world.rng.uniform(-3600.0, 3600.0))

    def _part(self, _: object) -> None:
        world = self._stage.world
        world.part(range(0, world.size, 2))
        self._stage.history.parted()

    def _heal(self, _: object) -> None:
        self._stage.world.part()
        self._stage.history.healed(self._stage.world.clock.seconds())

    def _joined(self) -> list[VirtualNode]:
        return [node for node in self._stage.world.callers() if node.stack.join.joined]


def history(faults: Faults, habits: Habits = USUAL) -> Script:
    """Clients at work on a few keys of each kind; what they were told is a history without a flaw."""

    def play(stage: ScenarioRun) -> None:
        world = stage.world
        stage.history.lives = world.lives
        if faults.liars:
            _let_some_lie(stage, faults.liars)
        subjects = [Subject.of(turn, world.rng) for turn in range(stage.values)]
        clients = SimulatedClients(stage, faults, habits, subjects)
        with disks(stage) if faults.restarts else nullcontext():
            stage.join()
            clients.work()
        _tell(stage, clients)

    return play


def _let_some_lie(stage: ScenarioRun, part: float) -> None:
    spread_out(stage)
    hosts = [host for host in stage.world.hosts if host.role is HostRole.NODE]
    for turn, host in enumerate(stage.world.rng.sample(hosts, round(part * len(hosts)))):
        stage.world.settle(evolve(host, conduct=HOSTILE_WAYS[turn % len(HOSTILE_WAYS)]))


def _tell(stage: ScenarioRun, clients: SimulatedClients) -> None:
    history = stage.history
    stage.notes["puts"] = clients.puts
    stage.notes["puts acknowledged"] = clients.acknowledged
    stage.notes["nodes killed"] = clients.fallen
    stage.notes["right gets older than an earlier one"] = history.returned
    for kind in Kind:
        counts = {judgement: history.count(judgement, kind) for judgement in Judgement}
        name = f"{kind.name.lower()} keys"
        stage.notes[f"{name}: gets"] = sum(counts.values())
        good = counts.pop(Judgement.RIGHT), counts.pop(Judgement.EXCUSED)
        stage.notes[f"{name}: excused"] = good[1]
        stage.notes |= {f"{name}: {judgement.value}": count for judgement, count in counts.items() if count}
        stage.promise(f"{name}: gets that break a promise", sum(counts.values()), at_most=0)
