"""Attacks by nodes with valid identities on a network of shipped nodes, and what the network promises under
them.

The attackers pay less than real ones: the proof of work has difficulty 0, and they have nodes in as many
subnets as the attack needs.
"""

import random
from collections import defaultdict
from functools import partial
from itertools import count

from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.keyspace import ID_BITS, hash_id
from dht14.kademlia.parameters import REPLICATION, SUBNET_IN_SET, SUBNET_IN_TABLE, K
from dht14.node.node import Node
from dht14.node.ports import Respond
from dht14.node.responder import Responder
from dht14.records.envelope import key_of_owner
from dht14.records.signing import public_key_of, sign_envelope
from dht14.security.identity import Identity, public_bytes
from dht14.sim.adversaries import DAY_MS, Denier, Forger, Liar, Silent
from dht14.sim.host import PUZZLE, Host, NodeRole
from dht14.sim.run import ScenarioRun, verdicts_of
from dht14.sim.scenario import Script
from dht14.wire.messages import FindNode, FindValue, Nodes, Reply, Request, Store, Stored

SYBILS = 500
"""Attackers in one subnet."""

ECLIPSERS = 20
"""Attackers beside each key."""

SHARED_BITS = 12
"""Leading bits that their ids share with the key: in a network of 500 nodes hardly any honest id shares as
many."""

HOSTILE_SHARE = 0.2


@define(eq=False)
class Colluders:
    """The state that colluding nodes share."""

    members: list[Contact] = field(factory=list)
    receipts: defaultdict[tuple[int, int], set[int]] = field(factory=lambda: defaultdict(set))
    """By key and by the fingerprint of the writer's neighbourhood, the ids of the members that acknowledged
    the record to the writer. A writer that finds a crowd and stores again sees another neighbourhood."""
    given: defaultdict[int, set[int]] = field(factory=lambda: defaultdict(set))
    """By key, the ids of the members that were given a copy, by the writer or by other holders."""


@define(eq=False)
class Colluder(Responder):
    """Acknowledges every STORE but keeps nothing, and names only its colluders."""

    _colluders: Colluders = field(kw_only=True)

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Respond with the colluders nearest to the target."""
        if isinstance(request, Store):
            if request.replication:  # Without it this is a cached copy, which no quorum counts.
                self._colluders.given[request.key].add(self._table.own_id)
                if not request.copy:
                    self._colluders.receipts[request.key, request.neighbours].add(self._table.own_id)
            respond(Stored(self._nearest(request.key)))
        elif isinstance(request, FindValue):
            respond(Nodes(self._nearest(request.key)))
        elif isinstance(request, FindNode):
            respond(Nodes(self._nearest(request.target)))
        else:
            super().answer(request, sender, now, respond)

    def _nearest(self, target: int) -> tuple[Contact, ...]:
        return tuple(sorted(self._colluders.members, key=lambda contact: contact.node_id ^ target)[:K])


class Misdirector(Denier):
    """A `Denier` that names real nodes with wrong addresses, each in a subnet of its own."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Respond with real ids at addresses where no node listens."""
        super().answer(request, sender, now, lambda reply: respond(self._misdirected(reply)))

    def _misdirected(self, reply: Reply) -> Reply:
        if not isinstance(reply, Nodes):
            return reply
        return Nodes(
            tuple(
                Contact(c.node_id, (f"61.{c.node_id & 255}.{c.node_id >> 8 & 255}.1", 8000), c.proof)
                for c in reply.contacts
            )
        )


HOSTILE_RESPONDERS = (Silent, Denier, Liar, Forger, Misdirector)
"""Of hostile nodes that do not collude."""


def one_subnet(run: ScenarioRun) -> None:
    """Each node has a subnet of its own; five times as many attackers share one."""
    spread_out(run)
    colluders = Colluders()
    for number in range(SYBILS * run.world.size // 100):
        address = f"60.0.0.{number % 250 + 1}", 8000 + number // 250
        _add_colluder(run, Identity.made_up(PUZZLE, run.world.rng), address, colluders)
    run.join()
    run.promise_acknowledged("puts acknowledged", run.put_values(_contents(run)), 0.999)
    fewest = min(run.replicas(run.acknowledged()), default=0)
    run.promise("fewest copies elsewhere", fewest, at_least=REPLICATION - SUBNET_IN_SET)
    found = run.get([write.key for write in run.acknowledged()], times=20)
    hostile = {contact.node_id for contact in colluders.members}
    tables = [node.stack.table for node in run.world.callers()]
    largest = max(sum(c.node_id in hostile for c in table.contacts()) for table in tables)
    run.promise("attackers in a table", largest, at_most=SUBNET_IN_TABLE)
    for table in tables:
        table.check_invariants()  # Of a bucket's limit too.
    largest = max((len(ids) for ids in colluders.receipts.values()), default=0)
    run.promise("attackers with receipts for a put", largest, at_most=SUBNET_IN_SET)
    # Colluders can show each holder two others, so nobody can limit how many are given a copy in time.
    run.notes["most attackers given a copy"] = max((len(ids) for ids in colluders.given.values()), default=0)
    run.promise_right("gets right", verdicts_of(found), 0.999)


def eclipse(subnets: int, at_least: float) -> Script:
    """Return a script: before any put, 20 attackers in `subnets` subnets have ids next to each key."""

    def script(run: ScenarioRun) -> None:
        spread_out(run)
        values = _contents(run)
        for turn, key in enumerate(values):
            colluders = Colluders()
            for number in range(ECLIPSERS):
                address = f"60.{turn}.{number % subnets}.{number + 1}", 8000
                _add_colluder(run, _identity_near(key, run.world.rng), address, colluders)
        run.join()
        run.promise_acknowledged("puts acknowledged", run.put_values(values), 1)
        found = run.get([write.key for write in run.acknowledged()], times=50)
        alarms = sum(node.stack.node.eclipse_detector.detections for node in run.world.callers())
        run.notes["alarms"] = alarms
        run.promise_right("gets right", verdicts_of(found), at_least)

    return script


def hostile(run: ScenarioRun) -> None:
    """A fifth of the nodes is hostile; each has one of five responders."""
    world = run.world
    spread_out(run)
    nodes = [host for host in world.hosts if host.role is NodeRole.NODE]
    for turn, host in enumerate(world.rng.sample(nodes, round(HOSTILE_SHARE * len(nodes)))):
        world.set_host(evolve(host, make_responder=HOSTILE_RESPONDERS[turn % len(HOSTILE_RESPONDERS)]))
    run.join()
    stored = run.put_values(_contents(run) | _owned(run))
    run.promise_acknowledged("puts acknowledged", stored, 0.99)
    found = run.get([write.key for write in run.acknowledged()], times=20)
    run.notes["alarms"] = sum(node.stack.node.eclipse_detector.detections for node in world.callers())
    run.promise_right("gets right", verdicts_of(found), 0.99)


def displacement(run: ScenarioRun) -> None:
    """A fifth of the nodes puts junk under every key, three times."""
    world = run.world
    spread_out(run)
    run.join()
    run.promise_acknowledged("puts acknowledged", run.put_values(_contents(run) | _owned(run)), 1)
    keys = [write.key for write in run.acknowledged()]
    hostile = world.rng.sample(world.callers(), round(HOSTILE_SHARE * len(world.callers())))
    junk = [partial(_put_junk, key) for _ in range(3) for key in keys]
    displaced = sum(outcome.result for outcome in world.run_operations(junk, callers=hostile))
    run.promise("junk acknowledged", displaced, at_most=0)
    found = run.get(keys, times=10)
    run.promise_right("gets right", verdicts_of(found), 1)


def lowered_replication(run: ScenarioRun) -> None:
    """An attacker that knows all values sends each holder its own record with a replication of 1. Then nodes
    are replaced, one every 45 s, until more have left than there were at first."""
    world = run.world
    run.history.availability = world.availability
    spread_out(run)
    run.join()
    run.promise_acknowledged("puts acknowledged", run.put_values(_contents(run)), 1)
    writes = run.acknowledged()
    attacker = world.callers()[0]
    for write in writes:
        offer = Store(write.key, 0, DAY_MS, 1, 0, write.value, copy=True)
        for holder in run.holders(write.key):
            if holder is not attacker:
                attacker.stack.rpc.ask(holder.contact, offer).addErrback(lambda _: None)
    for _ in range(world.size * 3 // 2):
        gone = world.rng.choice([node for node in world.callers() if node is not attacker])
        world.kill(gone)
        world.replace(gone.number)
        world.start(gone.number)
        run.wait(45.0)
    copies = run.replicas(writes)
    run.notes["copies"] = sum(copies) / len(copies)
    run.promise("fewest copies", min(copies), at_least=REPLICATION / 2)
    found = run.get([write.key for write in writes], times=5)
    run.promise_right("gets right", verdicts_of(found), 1)


def _put_junk(key: int, node: Node) -> "Deferred[bool]":
    return node.put(key, Forger.JUNK, 0, 20).addCallback(lambda receipt: receipt.acknowledged)


def spread_out(run: ScenarioRun) -> None:
    """Give every node a public address in a subnet of its own."""
    world = run.world
    for host in list(world.hosts):
        number = host.number
        world.set_host(
            evolve(host, address=(f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", 8000))
        )
    seeds = world.hosts[: len(world.options.seeds)]
    world.options = evolve(world.options, seeds=tuple(Seed(*host.address) for host in seeds))


def _add_colluder(run: ScenarioRun, identity: Identity, address: Address, colluders: Colluders) -> None:
    host = Host(
        run.world.size,
        NodeRole.NODE,
        identity,
        address,
        make_responder=partial(Colluder, colluders=colluders),
    )
    colluders.members.append(host.contact)
    run.world.set_host(host)


def _identity_near(key: int, rng: random.Random) -> Identity:
    """Return an identity whose id shares NEARNESS bits with the key: about one nonce in 4,096 gives one."""
    private_key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
    head, tail = public_bytes(private_key), bytes(8)
    for nonce in count():
        proof = head + nonce.to_bytes(8, "big") + tail
        node_id = PUZZLE.node_id_of(proof)
        if not (node_id ^ key) >> ID_BITS - SHARED_BITS:
            break
    return Identity(private_key, proof, node_id)


def _contents(run: ScenarioRun) -> dict[int, bytes]:
    rng = run.world.rng
    values = [rng.randbytes(rng.randint(1, run.value_bytes)) for _ in range(run.values)]
    return {hash_id(value): value for value in values}


def _owned(run: ScenarioRun) -> dict[int, bytes]:
    rng, owned = run.world.rng, dict[int, bytes]()
    for _ in range(run.values):
        private_key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        envelope = sign_envelope(private_key, 1, rng.randbytes(rng.randint(1, run.value_bytes)))
        owned[key_of_owner(public_key_of(private_key), b"")] = envelope.encode()
    return owned
