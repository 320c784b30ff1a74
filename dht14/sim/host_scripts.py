"""Scripts of the scenarios in which hosts fail: their clocks, their disks and their power."""

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import evolve

from dht14.kademlia.keyspace import random_id
from dht14.sim.clock import ProcessState
from dht14.sim.history import EXPIRY_TOLERANCE
from dht14.sim.host import NodeRole
from dht14.sim.operations import GetVerdict
from dht14.sim.run import DAY, HOUR, MINUTE, ScenarioRun, verdicts_of
from dht14.sim.virtual_disk import FLUSH_SECONDS, DiskFault, VirtualDisk

PUTS_CUT_OFF = 100

CLOCKS_SET = ((-HOUR, -25 * HOUR), (HOUR, 25 * HOUR), (-25 * HOUR, 25 * HOUR))
"""Errors of the clocks in each of the three rounds."""

SLEEP = 10 * MINUTE
SHORT_TTL = 300
"""Seconds: values that are put while hosts sleep expire before these wake."""


def clocks(run: ScenarioRun) -> None:
    """A fifth of the clocks is wrong by up to a day. Then, in three rounds, clocks of others are set wrong by
    an hour or by 25 h and right again later, and a twentieth of the nodes is stopped for 10 min, while
    clients put and get."""
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
    """Run one round: set clocks, stop hosts, put and get until the hosts continue; return the keys of the
    puts."""
    world, rng = run.world, run.world.rng
    nodes = list(world.nodes.values())
    unsteady = rng.sample([node for node in nodes if not node.process.skew], len(nodes) // 5)
    for node in unsteady:
        world.set_clock(node, rng.choice(errors))
    sleepers = rng.sample(run.nodes(), len(nodes) // 20)
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
    heard = [node.stack.rpc.metrics.replies for node in nodes]
    run.wait(MINUTE)
    quiet = sum(node.stack.rpc.metrics.replies == so_far for node, so_far in zip(nodes, heard, strict=True))
    run.promise("nodes that pinged nobody for a minute", quiet, at_most=0)
    for node in unsteady:
        world.set_clock(node, 0.0)
    return fresh


def cut_power(run: ScenarioRun) -> None:
    """Kill all nodes at once. A minute later all but the bootstrap nodes start again with their disks."""
    world = run.world
    for node in list(world.nodes.values()):
        world.kill(node)
    world.wait(MINUTE)
    for node in run.nodes():
        world.start(node.number)
    run.wait(MINUTE)


def power_cut(run: ScenarioRun) -> None:
    """All nodes are killed at once while clients put; all but the bootstrap nodes start again with their
    disks."""
    world = run.world
    with disks(run):
        run.join()
        run.put()
        for number in range(PUTS_CUT_OFF):
            world.clock.post(number * 0.01, lambda _: run.put_in_background(), None)
        world.wait(PUTS_CUT_OFF * 0.01 / 2)
        writes = run.acknowledged()
        cut_power(run)
        run.promise("nodes joined", sum(node.stack.join.joined for node in run.nodes()), world.size - 2)
        run.promise("values lost", run.replicas(writes).count(0), at_most=0)
        run.notes["copies"] = sum(run.replicas(writes)) / len(writes)
        found = run.get([write.key for write in writes], times=3)
        run.promise_right("gets right", verdicts_of(found), 1)


def bad_disks(run: ScenarioRun) -> None:
    """For five minutes an eighth of the disks is full, an eighth is broken, and a quarter needs a second per
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
            disk.fault, disk.flush_seconds = None, FLUSH_SECONDS
        stored = run.put(label="puts afterwards")
        run.promise_acknowledged("puts then", stored, 1)
        found = run.get([write.key for write in run.acknowledged()])
        run.promise_right("gets right", verdicts_of(found), 1)


def random_faults(run: ScenarioRun) -> None:
    """For ten minutes random faults of the network, of disks and of nodes, while clients put the same few
    keys again and again; then all faults end."""
    world, rng = run.world, run.world.rng
    run.history.availability = world.availability
    hosts = [host for host in world.hosts if host.role is NodeRole.NODE]
    for host in rng.sample(hosts, rng.randint(0, len(hosts) // 4)):
        world.set_host(evolve(host, skew=rng.uniform(-60.0, 60.0), behind_nat=rng.random() < 0.5))
    with disks(run):
        run.join()
        run.put()
        faulty = evolve(
            world.network.conditions,
            loss=rng.uniform(0.0, 0.2),
            duplicate=rng.uniform(0.0, 0.2),
            reorder=rng.uniform(0.0, 0.2),
        )
        before, world.network.conditions = world.network.conditions, faulty
        keys = run.history.keys(run.values)
        for turn in range(20):
            world.clock.post(turn * 30.0, lambda _: _inject_fault(run), None)
        for turn in range(10 * run.values):
            world.clock.post(
                turn * 60.0 / run.values, lambda _: run.put_in_background(rng.choice(keys)), None
            )
        run.get_for(10 * MINUTE, 10 * run.values)
        run.notes["gets right during the faults"] = run.right_share
        run.promise("gets that break a promise during the faults", run.broken, at_most=0)
        world.network.conditions = before
        _repair_all(run)
        run.wait(5 * MINUTE)
        stored = run.put(keys, label="overwrites")
        run.promise_acknowledged("puts acknowledged afterwards", stored, 1)
        run.promise_right("gets right afterwards", verdicts_of(run.get(keys, times=5)), 1)
        run.promise("gets of what had expired", run.verdicts[GetVerdict.EXPIRED], at_most=0)


def _inject_fault(run: ScenarioRun) -> None:
    """Inject one random fault, or end some."""
    world, rng = run.world, run.world.rng
    node = rng.choice(run.nodes())
    fault = rng.randrange(6)
    if fault == 0:
        world.kill(node)
    elif fault == 1 and node.running:
        world.stop(node)
    elif fault == 2:
        world.freeze(node)
    elif fault == 3:
        world.set_disk(node, rng.choice((None, *DiskFault)), rng.choice((FLUSH_SECONDS, 0.5)))
    elif fault == 4:
        half = rng.sample(range(world.size), world.size // 2)
        run.partition(half)
        world.clock.post(rng.uniform(1.0, 30.0), lambda _: run.heal(), None)
    else:
        _restart_all(run)


def _restart_all(run: ScenarioRun) -> None:
    for node in run.nodes():
        if node.process.state is ProcessState.DEAD:
            run.world.start(node.number)
        else:
            run.world.thaw(node)


def _repair_all(run: ScenarioRun) -> None:
    """End all faults of nodes and disks."""
    for node in run.nodes():
        run.world.set_disk(node, None, FLUSH_SECONDS)
    run.heal()
    _restart_all(run)


@contextmanager
def disks(run: ScenarioRun) -> Iterator[None]:
    """Give every value-holding node a disk, in memory where there is a file system for it."""
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
