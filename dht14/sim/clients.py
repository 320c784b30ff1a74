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
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.node.node import Node
from dht14.security.identity import Identity
from dht14.sim.attacks import HOSTILE_WAYS, spread_out
from dht14.sim.history import Judgement
from dht14.sim.host import PUZZLE, Host, Role, VirtualNode
from dht14.sim.plays import disks, value_nodes
from dht14.sim.scenario import Play
from dht14.sim.stage import SETTLE, Stage
from dht14.sim.world import address_of
from dht14.storage.envelope import key_of_owner
from dht14.storage.owner import public_key_of, seal
from dht14.storage.record import Kind

DURATION = 300.0
"""Seconds for which clients work."""

PUT_INTERVAL = 12.0
"""Seconds between two puts of a key, on average."""

GETS = 20
"""For each put: half of them soon after it, half at any time."""

SOON = 3.0
"""Seconds after a put, at most, within which gets come that must see it."""

SHORT_LIVES = 0.1
"""Part of the puts that live for a minute only."""

JUNK = 0.1
"""Part of the puts that are no owner's: other bytes, in as many copies as can be asked for."""


@frozen
class Faults:
    """What goes wrong meanwhile. Rates are per minute; with rates of 0 nothing does."""

    restarts: float = 0.0
    """Nodes killed that come back, with their disks, 2 to 60 s later."""
    deaths: float = 0.0
    """Nodes killed for good, each of them replaced by another one within a minute."""
    joins: float = 0.0
    """Nodes that join besides."""
    liars: float = 0.0
    """Part of the nodes that are hostile."""


@define(eq=False)
class Subject:
    """One key that everybody writes and reads. What `next` puts under it is fit for it."""

    kind: Kind
    key: int
    _value: bytes
    _owner: Ed25519PrivateKey | None = None
    _seq: int = 0

    @classmethod
    def of(cls, kind: Kind, rng: random.Random) -> "Subject":
        """A fresh one."""
        value = rng.randbytes(40)
        if kind is Kind.CONTENT:
            return cls(kind, hash_id(value), value)
        if kind is Kind.OPEN:
            return cls(kind, random_id(rng), b"")
        owner = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        return cls(kind, key_of_owner(public_key_of(owner), b""), b"", owner)

    def next(self, rng: random.Random) -> bytes:
        """What is put next: the same content, any value, or what the owner says now: of ten records one is
        a deletion, and two have a number that was given before, on another device."""
        if self._owner is None:
            return self._value or rng.randbytes(40)
        self._seq += self._seq == 0 or rng.random() < 0.8
        payload = rng.randbytes(40) if rng.random() < 0.9 else b""
        return seal(self._owner, self._seq, payload).encode()


class Return(Enum):
    """How a node that was killed comes back."""

    SAME = "same"
    """With its disk."""
    ANOTHER = "another"
    """Another node takes its place."""


@define(eq=False)
class Clients:
    """What clients and bad luck do for DURATION seconds; all times are drawn from the world's chance."""

    _stage: Stage
    _faults: Faults
    _subjects: list[Subject]
    _ends: float = field(init=False)
    puts: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    fallen: int = field(default=0, init=False)
    """Nodes that were killed."""

    def work(self) -> None:
        """Let them work, and wait until all of it is over."""
        stage, rng = self._stage, self._stage.world.rng
        self._ends = stage.now + DURATION
        for subject in self._subjects:
            self._at_random(60.0 / PUT_INTERVAL, partial(self._put, subject))
        gets = GETS / 2 * len(self._subjects) * 60.0 / PUT_INTERVAL
        self._at_random(gets, lambda: self._get(rng.choice(self._subjects)))
        self._at_random(self._faults.restarts, partial(self._kill, Return.SAME))
        self._at_random(self._faults.deaths, partial(self._kill, Return.ANOTHER))
        self._at_random(self._faults.joins, self._join)
        stage.wait(DURATION + SETTLE)

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
        callers = [node for node in self._stage.world.callers() if node.stack.join.joined]
        return self._stage.world.rng.choice(callers).stack.node if callers else None

    def _put(self, subject: Subject) -> None:
        node, rng = self._caller(), self._stage.world.rng
        if node is None:
            return
        value, copies = subject.next(rng), rng.randint(1, MAX_REPLICATION)
        if subject.kind is not Kind.OPEN and rng.random() < JUNK:
            value, copies = rng.randbytes(40), MAX_REPLICATION
        self.puts += 1
        ttl = 60 if rng.random() < SHORT_LIVES else 0
        self._stage.write(subject.key, value, ttl, copies, node).addCallback(self._told, subject)

    def _told(self, acknowledged: bool, subject: Subject) -> None:
        self.acknowledged += acknowledged
        world = self._stage.world
        for _ in range(GETS // 2):
            world.clock.post(world.rng.uniform(0.0, SOON), lambda _: self._get(subject), None)

    def _get(self, subject: Subject) -> None:
        node = self._caller()
        if node is not None:
            self._stage.read(subject.key, node)

    # Bad luck

    def _kill(self, comes_back: Return) -> None:
        world, lives = self._stage.world, self._stage.history.lives
        node = world.rng.choice([node for node in world.callers() if node.stack.join.joined])
        self.fallen += 1
        lives.fell(node.contact.node_id, world.clock.seconds())
        world.kill(node)
        world.clock.post(world.rng.uniform(2.0, 60.0), lambda _: self._come_back(node, comes_back), None)

    def _come_back(self, node: VirtualNode, comes_back: Return) -> None:
        world = self._stage.world
        if comes_back is Return.ANOTHER:
            world.replace(node.number)
        begun = world.begin(node.number)
        self._stage.history.lives.rose(
            begun.contact.node_id, world.clock.seconds(), kept=comes_back is Return.SAME
        )

    def _join(self) -> None:
        world = self._stage.world
        identity = Identity.made_up(PUZZLE, world.rng)
        world.settle(Host(world.size, Role.NODE, identity, address_of(world.size)))
        begun = world.begin(world.size - 1)
        self._stage.history.lives.rose(begun.contact.node_id, world.clock.seconds())


def history(faults: Faults) -> Play:
    """Clients at work on a few keys of each kind; what they were told is a history without a flaw."""

    def play(stage: Stage) -> None:
        world = stage.world
        if faults.liars:
            spread_out(stage)
            hosts = [host for host in world.hosts if host.role is Role.NODE]
            for turn, host in enumerate(world.rng.sample(hosts, round(faults.liars * len(hosts)))):
                world.settle(evolve(host, conduct=HOSTILE_WAYS[turn % len(HOSTILE_WAYS)]))
        subjects = [Subject.of(Kind(1 + turn % len(Kind)), world.rng) for turn in range(stage.values)]
        with disks(stage) if faults.restarts else nullcontext():
            stage.join()
            for node in value_nodes(stage):
                stage.history.lives.rose(node.contact.node_id, world.clock.seconds())
                if node.host.is_hostile:
                    stage.history.lives.lies(node.contact.node_id)
            clients = Clients(stage, faults, subjects)
            clients.work()
        _tell(stage, clients)

    return play


def _tell(stage: Stage, clients: Clients) -> None:
    history = stage.history
    stage.notes["puts"] = clients.puts
    stage.notes["puts acknowledged"] = clients.acknowledged
    stage.notes["nodes killed"] = clients.fallen
    for kind in Kind:
        counts = {judgement: history.count(judgement, kind) for judgement in Judgement}
        name = f"{kind.name.lower()} keys"
        stage.notes[f"{name}: gets"] = sum(counts.values())
        good = counts.pop(Judgement.RIGHT), counts.pop(Judgement.EXCUSED)
        stage.notes[f"{name}: excused"] = good[1]
        stage.notes |= {f"{name}: {judgement.value}": count for judgement, count in counts.items() if count}
        stage.promise(f"{name}: gets that break a promise", sum(counts.values()), at_most=0)
    stage.notes["right gets older than an earlier one"] = history.returned
