"""What happens in the named scenarios, and what must come of it."""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log2
from typing import Any

from attrs import evolve

from dht14.kademlia.keyspace import random_id
from dht14.kademlia.parameters import MAX_REPLICATION, REPLICATION
from dht14.sim.churn import Churn, Sessions
from dht14.sim.clock import ProcessState
from dht14.sim.history import LATENESS, Judgement
from dht14.sim.host import HostRole, Measured, VirtualNode
from dht14.sim.run import ScenarioRun, judged, part_of
from dht14.sim.scenario import Script
from dht14.sim.statistics import percentile
from dht14.sim.virtual_disk import Fault, VirtualDisk

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

PUTS_CUT_OFF = 100


def loss(at_least: float) -> Script:
    """Datagrams get lost; nobody leaves."""

    def play(stage: ScenarioRun) -> None:
        stage.join()
        stored = stage.put()
        stage.notes["puts acknowledged"] = part_of(stored)
        found = stage.get([write.key for write in stage.acknowledged()], times=10)
        stage.notes["p99 ms"] = _p99(found)
        stage.promise_right("gets right", judged(found), at_least)

    return play


def churn(median: float, shape: float, replication: int, gets: int, at_least: float) -> Script:
    """Sessions of the given median; who leaves is replaced by another node a minute later."""

    def play(stage: ScenarioRun) -> None:
        stage.join()
        stage.put(replication=replication)
        coming_and_going = Churn(stage.world, Sessions(median, shape))
        coming_and_going.start()
        judgements = stage.read_for(HOUR, gets)
        stage.notes["sessions ended"] = coming_and_going.left
        stage.notes["values without a copy"] = stage.replicas(stage.acknowledged()).count(0)
        stage.promise_right("gets right for an hour", judgements, at_least)

    return play


def deaths(stage: ScenarioRun) -> None:
    """30 % of the nodes are killed at once."""
    stage.join()
    stage.put()
    nodes = value_nodes(stage)
    for node in stage.world.rng.sample(nodes, len(nodes) * 3 // 10):
        stage.world.kill(node)
    judgements = stage.read_for(MINUTE, 5 * stage.values)
    stage.promise_right("gets right in the next minute", judgements, 0.999)


HOT_SPOTS = 10
"""Points around which the values of `holders` lie, so that many have the same holders."""


def holders(stage: ScenarioRun) -> None:
    """Of the holders of each value all but one are killed at once."""
    stage.join()
    rng = stage.world.rng
    points = [random_id(rng) for _ in range(HOT_SPOTS)]
    keys = [points[number % HOT_SPOTS] ^ rng.getrandbits(200) for number in range(stage.values)]
    stored = stage.put(keys, replication=REPLICATION)
    stage.promise_acknowledged("puts acknowledged", stored, 1)
    writes = stage.acknowledged()
    spared, killed = set[VirtualNode](), set[VirtualNode]()
    for key in keys:
        holding = stage.holders(key)
        if not spared.intersection(holding):
            spared.add(next((node for node in holding if node not in killed), holding[0]))
        killed.update(node for node in holding if node not in spared)
    for node in killed - spared:
        stage.world.kill(node)
    stage.notes["nodes killed"] = len(killed - spared)
    stage.notes["copies left"] = sum(stage.replicas(writes)) / len(writes)
    stage.promise("values lost", stage.replicas(writes).count(0), at_most=0)
    stage.wait(10 * MINUTE)
    copies = stage.replicas(writes)
    stage.promise("fewest copies after 10 min", min(copies), at_least=REPLICATION)
    found = stage.get([write.key for write in rng.sample(writes, min(len(writes), 1000))])
    stage.promise_right("gets right", judged(found), 1)


def partition(stage: ScenarioRun) -> None:
    """Two halves apart for 10 min, both writing the same keys and keys of their own."""
    stage.join()
    stage.put()
    world = stage.world
    numbers = range(world.size)
    world.part(numbers[::2], numbers[1::2])
    stage.wait(5 * MINUTE)
    stage.put([write.key for write in stage.acknowledged()] * 2, label="overwrites")
    stage.put(label="puts apart")
    stage.wait(5 * MINUTE)
    world.part()
    stage.wait(MINUTE)
    keys = stage.history.keys(2 * stage.values)
    found = stage.get(keys, times=len(world.callers()))
    each = [
        found[first : first + len(world.callers())] for first in range(0, len(found), len(world.callers()))
    ]
    agreed = sum(len({get.result.value for get in gets}) == 1 for gets in each)
    stage.promise_right("gets right", judged(found), 1)
    stage.promise("keys on which all agree a minute after", agreed / len(keys), at_least=1)


def one_way(stage: ScenarioRun) -> None:
    """30 % of the nodes are behind NATs: they can send, and are reached only by whom they have sent to."""
    world = stage.world
    hidden = [host for host in world.hosts if host.role is HostRole.NODE]
    for host in world.rng.sample(hidden, len(hidden) * 3 // 10):
        world.settle(evolve(host, behind_nat=True))
    stage.join()
    stage.wait(MINUTE)
    behind = {host.contact.node_id for host in world.hosts if host.behind_nat}
    named = stage.named_by_all([random_id(world.rng) for _ in range(5)])
    stage.promise("unreachable nodes in answers", len({c.node_id for c in named} & behind), at_most=0)
    stored = stage.put()
    stage.promise_acknowledged("puts acknowledged", stored, 0.999)
    callers = [node for node in world.callers() if node.host.behind_nat]
    found = stage.get([write.key for write in stage.acknowledged()], times=5, callers=callers)
    stage.promise_right("their own gets right", judged(found), 0.999)


def rewrites(stage: ScenarioRun) -> None:
    """Clients write the same few keys over and over, two puts a second, with 1 to 20 copies, while others read them."""
    stage.join()
    stage.put()
    keys, rng = stage.history.keys(stage.values), stage.world.rng

    def put(_: object) -> None:
        stage.put_unheard(rng.choice(keys), rng.randint(1, MAX_REPLICATION))

    for turn in range(2 * 600):
        stage.world.clock.post(turn * 0.5, put, None)
    judgements = stage.read_for(10 * MINUTE, 3000)
    stage.promise("gets of what had been replaced", judgements[Judgement.STALE], at_most=0)
    stage.promise_right("gets right", judgements, 1)


CLOCKS_SET = ((-HOUR, -25 * HOUR), (HOUR, 25 * HOUR), (-25 * HOUR, 25 * HOUR))
"""How far wrong clocks are set, each time."""

SLEEP = 10 * MINUTE
SHORT_TTL = 300
"""Seconds: what is put while hosts sleep has expired when they wake."""


def clocks(stage: ScenarioRun) -> None:
    """A fifth of the nodes has a clock that is wrong by up to a day. Then, three times, the clocks of others are set
    wrong by an hour or by 25, and right again later, and a twentieth of the nodes is stopped for 10 min, while clients
    put and get."""
    world = stage.world
    for host in world.rng.sample(world.hosts, len(world.hosts) // 5):
        world.settle(evolve(host, skew=world.rng.uniform(-DAY, DAY)))
    joined = stage.join()
    stage.promise("nodes joined", sum(join.result for join in joined) / len(joined), at_least=1)
    ttl = 1800
    stored = stage.put(ttl=ttl)
    stage.promise_acknowledged("puts acknowledged", stored, 1)
    keys = [write.key for write in stage.acknowledged()]
    stage.promise_right("gets right", judged(stage.get(keys, times=5)), 1)
    again = stage.put(keys, ttl=ttl, label="overwrites")
    stage.promise_acknowledged("overwrites acknowledged", again, 1)
    stage.promise_right("gets right after that", judged(stage.get(keys, times=5)), 1)
    for errors in CLOCKS_SET:
        keys += _unsteady_clocks(stage, errors)
    last = max((write.expires_at - world.clock.seconds() for write in stage.acknowledged()), default=0.0)
    stage.wait(last + LATENESS)
    late = judged(stage.get(keys, times=5))[Judgement.EXPIRED]
    stage.promise("gets of what expired more than 2 s ago", late, at_most=0)


def _unsteady_clocks(stage: ScenarioRun, errors: Sequence[float]) -> list[int]:
    """Set clocks, stop hosts, and let clients work until these go on; the keys of what was put."""
    world, rng = stage.world, stage.world.rng
    nodes = list(world.nodes.values())
    unsteady = rng.sample([node for node in nodes if not node.process.skew], len(nodes) // 5)
    for node in unsteady:
        world.set_clock(node, rng.choice(errors))
    sleepers = rng.sample(value_nodes(stage), len(nodes) // 20)
    for node in sleepers:
        world.freeze(node)
    wakes_at = world.clock.seconds() + SLEEP
    known = stage.history.keys(stage.values)
    fresh = [random_id(rng) for _ in range(stage.values)]
    stored = stage.put(fresh, ttl=SHORT_TTL, label="puts meanwhile")
    stage.promise_acknowledged("puts acknowledged meanwhile", stored, 1)
    found = judged(stage.get(known + fresh))
    stage.wait(wakes_at - world.clock.seconds())
    for node in sleepers:
        world.thaw(node)
    found += judged(stage.get(known + fresh, times=2))
    stage.promise_right("gets right meanwhile and after", found, 1)
    heard = [node.stack.rpc.metrics.replies for node in nodes]
    stage.wait(MINUTE)
    quiet = sum(node.stack.rpc.metrics.replies == so_far for node, so_far in zip(nodes, heard, strict=True))
    stage.promise("nodes that pinged nobody for a minute", quiet, at_most=0)
    for node in unsteady:
        world.set_clock(node, 0.0)
    return fresh


def newcomer(stage: ScenarioRun) -> None:
    """One more node joins a large network and looks for everything."""
    world = stage.world
    last = world.size - 1
    stage.join(range(last))
    stage.put()
    (joined,) = stage.join([last])
    stage.promise("joined", joined.result, at_least=1)
    stage.notes["join seconds"] = joined.seconds
    node = world.nodes[last]
    before = Counter(node.stack.node.lookups_by_hops)
    found = stage.get([write.key for write in stage.acknowledged()], callers=[node], gap=0.5)
    hops = node.stack.node.lookups_by_hops - before
    stage.notes["hops per get"] = sum(hop * count for hop, count in hops.items()) / max(1, hops.total())
    stage.notes["log2 of the nodes"] = log2(world.size)
    stage.notes["datagrams per get"] = sum(get.datagrams for get in found) / len(found)
    stage.notes["p99 ms"] = _p99(found)
    stage.promise_right("keys found", judged(found), 1)


def power_cut(stage: ScenarioRun) -> None:
    """Every node is killed at once while clients write; all begin again with their disks, but bootstrap nodes."""
    world = stage.world
    with disks(stage):
        stage.join()
        stage.put()
        for number in range(PUTS_CUT_OFF):
            world.clock.post(number * 0.01, lambda _: stage.put_unheard(), None)
        world.wait(PUTS_CUT_OFF * 0.01 / 2)
        writes = stage.acknowledged()
        for node in list(world.nodes.values()):
            world.kill(node)
        world.wait(MINUTE)
        for node in value_nodes(stage):
            world.begin(node.number)
        stage.wait(MINUTE)
        stage.promise(
            "nodes joined", sum(node.stack.join.joined for node in value_nodes(stage)), world.size - 2
        )
        stage.promise("values lost", stage.replicas(writes).count(0), at_most=0)
        stage.notes["copies"] = sum(stage.replicas(writes)) / len(writes)
        found = stage.get([write.key for write in writes], times=3)
        stage.promise_right("gets right", judged(found), 1)


def bad_disks(stage: ScenarioRun) -> None:
    """For five minutes an eighth of the disks is full, an eighth broken, and a quarter takes a second to flush."""
    with disks(stage):
        stage.join()
        stage.put()
        all_disks = [host.disk for host in stage.world.hosts if host.disk is not None]
        for number, disk in enumerate(all_disks):
            disk.fault = {0: Fault.NO_SPACE, 1: Fault.BROKEN}.get(number % 8)
            disk.flush_seconds = 1.0 if number % 8 in (2, 3) else disk.flush_seconds
        stored = stage.put(label="puts meanwhile")
        stage.promise_acknowledged("puts acknowledged", stored, 0.99)
        stage.promise_right("gets right meanwhile", stage.read_for(5 * MINUTE, 5 * stage.values), 1)
        for disk in all_disks:
            disk.fault, disk.flush_seconds = None, 0.002
        stored = stage.put(label="puts afterwards")
        stage.promise_acknowledged("puts then", stored, 1)
        found = stage.get([write.key for write in stage.acknowledged()])
        stage.promise_right("gets right", judged(found), 1)


def weather(stage: ScenarioRun) -> None:
    """Whatever the seed brings: for ten minutes the network, the disks and the nodes are as bad as it has drawn,
    while clients write the same few keys over and over; then all is well again."""
    world, rng = stage.world, stage.world.rng
    hosts = [host for host in world.hosts if host.role is HostRole.NODE]
    for host in rng.sample(hosts, rng.randint(0, len(hosts) // 4)):
        world.settle(evolve(host, skew=rng.uniform(-60.0, 60.0), behind_nat=rng.random() < 0.5))
    with disks(stage):
        stage.join()
        stage.put()
        foul = evolve(
            world.network.conditions,
            loss=rng.uniform(0.0, 0.2),
            duplicate=rng.uniform(0.0, 0.2),
            reorder=rng.uniform(0.0, 0.2),
        )
        fair, world.network.conditions = world.network.conditions, foul
        keys = stage.history.keys(stage.values)
        for turn in range(20):
            world.clock.post(turn * 30.0, lambda _: _mischief(stage), None)
        for turn in range(10 * stage.values):
            world.clock.post(turn * 60.0 / stage.values, lambda _: stage.put_unheard(rng.choice(keys)), None)
        stage.read_for(10 * MINUTE, 10 * stage.values)
        stage.notes["gets right in foul weather"] = stage.part_right
        world.network.conditions = fair
        _make_good(stage)
        stage.wait(5 * MINUTE)
        stored = stage.put(keys, label="overwrites")
        stage.promise_acknowledged("puts acknowledged afterwards", stored, 1)
        stage.promise_right("gets right afterwards", judged(stage.get(keys, times=5)), 1)
        stage.promise("gets of what had expired", stage.judgements[Judgement.EXPIRED], at_most=0)


def _mischief(stage: ScenarioRun) -> None:
    """One more thing that goes wrong, or right again."""
    world, rng = stage.world, stage.world.rng
    node = rng.choice(value_nodes(stage))
    disk = node.host.disk
    what = rng.randrange(6)
    if what == 0:
        world.kill(node)
    elif what == 1 and node.running:
        world.stop(node)
    elif what == 2:
        world.freeze(node)
    elif what == 3 and disk is not None:
        disk.fault, disk.flush_seconds = rng.choice((None, *Fault)), rng.choice((0.002, 0.5))
    elif what == 4:
        half = rng.sample(range(world.size), world.size // 2)
        world.part(half)
        world.clock.post(rng.uniform(1.0, 30.0), lambda _: world.part(), None)
    else:
        _bring_back(stage)


def _bring_back(stage: ScenarioRun) -> None:
    for node in value_nodes(stage):
        if node.process.state is ProcessState.DEAD:
            stage.world.begin(node.number)
        else:
            stage.world.thaw(node)


def _make_good(stage: ScenarioRun) -> None:
    """All nodes run, and all disks write."""
    for host in stage.world.hosts:
        if host.disk is not None:
            host.disk.fault, host.disk.flush_seconds = None, 0.002
    stage.world.part()
    _bring_back(stage)


@contextmanager
def disks(stage: ScenarioRun) -> Iterator[None]:
    """Every node that holds values has a disk; of memory, where there is a file system of it."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        for host in list(stage.world.hosts):
            if host.role is HostRole.NODE:
                disk = VirtualDisk(
                    os.path.join(folder, str(host.number)), random.Random(f"disk {host.number}")
                )
                stage.world.settle(evolve(host, disk=disk))
        try:
            yield
        finally:
            for node in list(stage.world.nodes.values()):
                stage.world.kill(node)


def value_nodes(stage: ScenarioRun) -> list[VirtualNode]:
    """The nodes that hold values, by number, dead ones included."""
    return [node for _, node in sorted(stage.world.nodes.items()) if node.role is HostRole.NODE]


def _p99(outcomes: Sequence[Measured[Any]]) -> float:
    return percentile(sorted(round(1000 * outcome.seconds, 1) for outcome in outcomes), 99)
