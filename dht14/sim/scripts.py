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
from dht14.sim.churn import Churn, SessionLengths
from dht14.sim.clock import ProcessState
from dht14.sim.history import EXPIRY_TOLERANCE, GetVerdict
from dht14.sim.host import NodeRole, Operation, VirtualNode
from dht14.sim.run import ScenarioRun, success_share, verdicts_of
from dht14.sim.scenario import Script
from dht14.sim.statistics import percentile
from dht14.sim.virtual_disk import DiskFault, VirtualDisk

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

PUTS_CUT_OFF = 100


def loss(at_least: float) -> Script:
    """Datagrams get lost; nobody leaves."""

    def script(run: ScenarioRun) -> None:
        run.join()
        stored = run.put()
        run.notes["puts acknowledged"] = success_share(stored)
        found = run.get([write.key for write in run.acknowledged()], times=10)
        run.notes["p99 ms"] = _p99(found)
        run.promise_right("gets right", verdicts_of(found), at_least)

    return script


def churn(median: float, shape: float, replication: int, gets: int, at_least: float) -> Script:
    """Sessions of the given median; who leaves is replaced by another node a minute later."""

    def script(run: ScenarioRun) -> None:
        run.join()
        run.put(replication=replication)
        coming_and_going = Churn(run.world, SessionLengths(median, shape))
        coming_and_going.start()
        verdicts = run.get_for(HOUR, gets)
        run.notes["sessions ended"] = coming_and_going.departures
        run.notes["values without a copy"] = run.replicas(run.acknowledged()).count(0)
        run.promise_right("gets right for an hour", verdicts, at_least)

    return script


def deaths(run: ScenarioRun) -> None:
    """30 % of the nodes are killed at once."""
    run.join()
    run.put()
    nodes = value_nodes(run)
    for node in run.world.rng.sample(nodes, len(nodes) * 3 // 10):
        run.world.kill(node)
    verdicts = run.get_for(MINUTE, 5 * run.values)
    run.promise_right("gets right in the next minute", verdicts, 0.999)


HOT_SPOTS = 10
"""Points around which the values of `holders` lie, so that many have the same holders."""


def holders(run: ScenarioRun) -> None:
    """Of the holders of each value all but one are killed at once."""
    run.join()
    rng = run.world.rng
    points = [random_id(rng) for _ in range(HOT_SPOTS)]
    keys = [points[number % HOT_SPOTS] ^ rng.getrandbits(200) for number in range(run.values)]
    stored = run.put(keys, replication=REPLICATION)
    run.promise_acknowledged("puts acknowledged", stored, 1)
    writes = run.acknowledged()
    spared, killed = set[VirtualNode](), set[VirtualNode]()
    for key in keys:
        holding = run.holders(key)
        if not spared.intersection(holding):
            spared.add(next((node for node in holding if node not in killed), holding[0]))
        killed.update(node for node in holding if node not in spared)
    for node in killed - spared:
        run.world.kill(node)
    run.notes["nodes killed"] = len(killed - spared)
    run.notes["copies left"] = sum(run.replicas(writes)) / len(writes)
    run.promise("values lost", run.replicas(writes).count(0), at_most=0)
    run.wait(10 * MINUTE)
    copies = run.replicas(writes)
    run.promise("fewest copies after 10 min", min(copies), at_least=REPLICATION)
    found = run.get([write.key for write in rng.sample(writes, min(len(writes), 1000))])
    run.promise_right("gets right", verdicts_of(found), 1)


def partition(run: ScenarioRun) -> None:
    """Two halves apart for 10 min, both writing the same keys and keys of their own."""
    run.join()
    run.put()
    world = run.world
    numbers = range(world.size)
    world.part(numbers[::2], numbers[1::2])
    run.wait(5 * MINUTE)
    run.put([write.key for write in run.acknowledged()] * 2, label="overwrites")
    run.put(label="puts apart")
    run.wait(5 * MINUTE)
    world.part()
    run.wait(MINUTE)
    keys = run.history.keys(2 * run.values)
    found = run.get(keys, times=len(world.callers()))
    each = [
        found[first : first + len(world.callers())] for first in range(0, len(found), len(world.callers()))
    ]
    agreed = sum(len({get.result.value for get in gets}) == 1 for gets in each)
    run.promise_right("gets right", verdicts_of(found), 1)
    run.promise("keys on which all agree a minute after", agreed / len(keys), at_least=1)


def one_way(run: ScenarioRun) -> None:
    """30 % of the nodes are behind NATs: they can send, and are reached only by whom they have sent to."""
    world = run.world
    hidden = [host for host in world.hosts if host.role is NodeRole.NODE]
    for host in world.rng.sample(hidden, len(hidden) * 3 // 10):
        world.set_host(evolve(host, behind_nat=True))
    run.join()
    run.wait(MINUTE)
    behind = {host.contact.node_id for host in world.hosts if host.behind_nat}
    named = run.named_contacts([random_id(world.rng) for _ in range(5)])
    run.promise("unreachable nodes in answers", len({c.node_id for c in named} & behind), at_most=0)
    stored = run.put()
    run.promise_acknowledged("puts acknowledged", stored, 0.999)
    callers = [node for node in world.callers() if node.host.behind_nat]
    found = run.get([write.key for write in run.acknowledged()], times=5, callers=callers)
    run.promise_right("their own gets right", verdicts_of(found), 0.999)


def rewrites(run: ScenarioRun) -> None:
    """Clients write the same few keys over and over, two puts a second, with 1 to 20 copies, while others
    read them."""
    run.join()
    run.put()
    keys, rng = run.history.keys(run.values), run.world.rng

    def put(_: object) -> None:
        run.put_in_background(rng.choice(keys), rng.randint(1, MAX_REPLICATION))

    for turn in range(2 * 600):
        run.world.clock.post(turn * 0.5, put, None)
    verdicts = run.get_for(10 * MINUTE, 3000)
    run.promise("gets of what had been replaced", verdicts[GetVerdict.STALE], at_most=0)
    run.promise_right("gets right", verdicts, 1)


CLOCKS_SET = ((-HOUR, -25 * HOUR), (HOUR, 25 * HOUR), (-25 * HOUR, 25 * HOUR))
"""How far wrong clocks are set, each time."""

SLEEP = 10 * MINUTE
SHORT_TTL = 300
"""Seconds: what is put while hosts sleep has expired when they wake."""


def clocks(run: ScenarioRun) -> None:
    """A fifth of the nodes has a clock that is wrong by up to a day. Then, three times, the clocks of others
    are set wrong by an hour or by 25, and right again later, and a twentieth of the nodes is stopped for 10
    min, while clients put and get."""
    world = run.world
    for host in world.rng.sample(world.hosts, len(world.hosts) // 5):
        world.set_host(evolve(host, skew=world.rng.uniform(-DAY, DAY)))
    joined = run.join()
    run.promise("nodes joined", sum(join.result for join in joined) / len(joined), at_least=1)
    ttl = 1800
    stored = run.put(ttl=ttl)
    run.promise_acknowledged("puts acknowledged", stored, 1)
    keys = [write.key for write in run.acknowledged()]
    run.promise_right("gets right", verdicts_of(run.get(keys, times=5)), 1)
    again = run.put(keys, ttl=ttl, label="overwrites")
    run.promise_acknowledged("overwrites acknowledged", again, 1)
    run.promise_right("gets right after that", verdicts_of(run.get(keys, times=5)), 1)
    for errors in CLOCKS_SET:
        keys += _unsteady_clocks(run, errors)
    last = max((write.expires_at - world.clock.seconds() for write in run.acknowledged()), default=0.0)
    run.wait(last + EXPIRY_TOLERANCE)
    late = verdicts_of(run.get(keys, times=5))[GetVerdict.EXPIRED]
    run.promise("gets of what expired more than 2 s ago", late, at_most=0)


def _unsteady_clocks(run: ScenarioRun, errors: Sequence[float]) -> list[int]:
    """Set clocks, stop hosts, and let clients work until these go on; the keys of what was put."""
    world, rng = run.world, run.world.rng
    nodes = list(world.nodes.values())
    unsteady = rng.sample([node for node in nodes if not node.process.skew], len(nodes) // 5)
    for node in unsteady:
        world.set_clock(node, rng.choice(errors))
    sleepers = rng.sample(value_nodes(run), len(nodes) // 20)
    for node in sleepers:
        world.freeze(node)
    wakes_at = world.clock.seconds() + SLEEP
    known = run.history.keys(run.values)
    fresh = [random_id(rng) for _ in range(run.values)]
    stored = run.put(fresh, ttl=SHORT_TTL, label="puts meanwhile")
    run.promise_acknowledged("puts acknowledged meanwhile", stored, 1)
    found = verdicts_of(run.get(known + fresh))
    run.wait(wakes_at - world.clock.seconds())
    for node in sleepers:
        world.thaw(node)
    found += verdicts_of(run.get(known + fresh, times=2))
    run.promise_right("gets right meanwhile and after", found, 1)
    heard = [node.stack.rpc.counters["answered"] for node in nodes]
    run.wait(MINUTE)
    quiet = sum(
        node.stack.rpc.counters["answered"] == so_far for node, so_far in zip(nodes, heard, strict=True)
    )
    run.promise("nodes that pinged nobody for a minute", quiet, at_most=0)
    for node in unsteady:
        world.set_clock(node, 0.0)
    return fresh


def newcomer(run: ScenarioRun) -> None:
    """One more node joins a large network and looks for everything."""
    world = run.world
    last = world.size - 1
    run.join(range(last))
    run.put()
    (joined,) = run.join([last])
    run.promise("joined", joined.result, at_least=1)
    run.notes["join seconds"] = joined.seconds
    node = world.nodes[last]
    before = Counter(node.stack.node.hops)
    found = run.get([write.key for write in run.acknowledged()], callers=[node], gap=0.5)
    hops = node.stack.node.hops - before
    run.notes["hops per get"] = sum(hop * count for hop, count in hops.items()) / max(1, hops.total())
    run.notes["log2 of the nodes"] = log2(world.size)
    run.notes["datagrams per get"] = sum(get.datagrams for get in found) / len(found)
    run.notes["p99 ms"] = _p99(found)
    run.promise_right("keys found", verdicts_of(found), 1)


def power_cut(run: ScenarioRun) -> None:
    """Every node is killed at once while clients write; all begin again with their disks, but bootstrap
    nodes."""
    world = run.world
    with disks(run):
        run.join()
        run.put()
        for number in range(PUTS_CUT_OFF):
            world.clock.post(number * 0.01, lambda _: run.put_in_background(), None)
        world.wait(PUTS_CUT_OFF * 0.01 / 2)
        writes = run.acknowledged()
        for node in list(world.nodes.values()):
            world.kill(node)
        world.wait(MINUTE)
        for node in value_nodes(run):
            world.start(node.number)
        run.wait(MINUTE)
        run.promise("nodes joined", sum(node.stack.join.joined for node in value_nodes(run)), world.size - 2)
        run.promise("values lost", run.replicas(writes).count(0), at_most=0)
        run.notes["copies"] = sum(run.replicas(writes)) / len(writes)
        found = run.get([write.key for write in writes], times=3)
        run.promise_right("gets right", verdicts_of(found), 1)


def bad_disks(run: ScenarioRun) -> None:
    """For five minutes an eighth of the disks is full, an eighth broken, and a quarter takes a second to
    flush."""
    with disks(run):
        run.join()
        run.put()
        all_disks = [host.disk for host in run.world.hosts if host.disk is not None]
        for number, disk in enumerate(all_disks):
            disk.fault = {0: DiskFault.NO_SPACE, 1: DiskFault.BROKEN}.get(number % 8)
            disk.flush_seconds = 1.0 if number % 8 in (2, 3) else disk.flush_seconds
        stored = run.put(label="puts meanwhile")
        run.promise_acknowledged("puts acknowledged", stored, 0.99)
        run.promise_right("gets right meanwhile", run.get_for(5 * MINUTE, 5 * run.values), 1)
        for disk in all_disks:
            disk.fault, disk.flush_seconds = None, 0.002
        stored = run.put(label="puts afterwards")
        run.promise_acknowledged("puts then", stored, 1)
        found = run.get([write.key for write in run.acknowledged()])
        run.promise_right("gets right", verdicts_of(found), 1)


def random_faults(run: ScenarioRun) -> None:
    """Whatever the seed brings: for ten minutes the network, the disks and the nodes are as bad as it has
    drawn, while clients write the same few keys over and over; then all is well again."""
    world, rng = run.world, run.world.rng
    hosts = [host for host in world.hosts if host.role is NodeRole.NODE]
    for host in rng.sample(hosts, rng.randint(0, len(hosts) // 4)):
        world.set_host(evolve(host, skew=rng.uniform(-60.0, 60.0), behind_nat=rng.random() < 0.5))
    with disks(run):
        run.join()
        run.put()
        foul = evolve(
            world.network.conditions,
            loss=rng.uniform(0.0, 0.2),
            duplicate=rng.uniform(0.0, 0.2),
            reorder=rng.uniform(0.0, 0.2),
        )
        fair, world.network.conditions = world.network.conditions, foul
        keys = run.history.keys(run.values)
        for turn in range(20):
            world.clock.post(turn * 30.0, lambda _: _inject_fault(run), None)
        for turn in range(10 * run.values):
            world.clock.post(
                turn * 60.0 / run.values, lambda _: run.put_in_background(rng.choice(keys)), None
            )
        run.get_for(10 * MINUTE, 10 * run.values)
        run.notes["gets right in foul weather"] = run.right_share
        world.network.conditions = fair
        _repair_all(run)
        run.wait(5 * MINUTE)
        stored = run.put(keys, label="overwrites")
        run.promise_acknowledged("puts acknowledged afterwards", stored, 1)
        run.promise_right("gets right afterwards", verdicts_of(run.get(keys, times=5)), 1)
        run.promise("gets of what had expired", run.verdicts[GetVerdict.EXPIRED], at_most=0)


def _inject_fault(run: ScenarioRun) -> None:
    """One more thing that goes wrong, or right again."""
    world, rng = run.world, run.world.rng
    node = rng.choice(value_nodes(run))
    disk = node.host.disk
    what = rng.randrange(6)
    if what == 0:
        world.kill(node)
    elif what == 1 and node.running:
        world.stop(node)
    elif what == 2:
        world.freeze(node)
    elif what == 3 and disk is not None:
        disk.fault, disk.flush_seconds = rng.choice((None, *DiskFault)), rng.choice((0.002, 0.5))
    elif what == 4:
        half = rng.sample(range(world.size), world.size // 2)
        world.part(half)
        world.clock.post(rng.uniform(1.0, 30.0), lambda _: world.part(), None)
    else:
        _restart_all(run)


def _restart_all(run: ScenarioRun) -> None:
    for node in value_nodes(run):
        if node.process.state is ProcessState.DEAD:
            run.world.start(node.number)
        else:
            run.world.thaw(node)


def _repair_all(run: ScenarioRun) -> None:
    """All nodes run, and all disks write."""
    for host in run.world.hosts:
        if host.disk is not None:
            host.disk.fault, host.disk.flush_seconds = None, 0.002
    run.world.part()
    _restart_all(run)


@contextmanager
def disks(run: ScenarioRun) -> Iterator[None]:
    """Every node that holds values has a disk; of memory, where there is a file system of it."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        for host in list(run.world.hosts):
            if host.role is NodeRole.NODE:
                disk = VirtualDisk(
                    os.path.join(folder, str(host.number)), random.Random(f"disk {host.number}")
                )
                run.world.set_host(evolve(host, disk=disk))
        try:
            yield
        finally:
            for node in list(run.world.nodes.values()):
                run.world.kill(node)


def value_nodes(run: ScenarioRun) -> list[VirtualNode]:
    """The nodes that hold values, by number, dead ones included."""
    return [node for _, node in sorted(run.world.nodes.items()) if node.role is NodeRole.NODE]


def _p99(outcomes: Sequence[Operation[Any]]) -> float:
    return percentile(sorted(round(1000 * outcome.seconds, 1) for outcome in outcomes), 99)
