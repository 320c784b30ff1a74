"""Scripts of the scenarios in which the network is bad, and nodes come and go."""

from collections import Counter
from collections.abc import Sequence
from math import log2
from typing import Any

from attrs import evolve

from dht14.kademlia.keyspace import random_id
from dht14.kademlia.parameters import MAX_REPLICATION, REPLICATION
from dht14.sim.churn import Churn, SessionLengths
from dht14.sim.host import NodeRole, Operation, VirtualNode
from dht14.sim.operations import GetVerdict
from dht14.sim.run import HOUR, MINUTE, ScenarioRun, success_share, verdicts_of
from dht14.sim.scenario import Script
from dht14.sim.statistics import percentile


def loss(at_least: float) -> Script:
    """Return a script: datagrams are lost, no node leaves."""

    def script(run: ScenarioRun) -> None:
        run.join()
        stored = run.put()
        run.notes["puts acknowledged"] = success_share(stored)
        found = run.get([write.key for write in run.acknowledged()], times=10)
        run.notes["p99 ms"] = _p99(found)
        run.promise_right("gets right", verdicts_of(found), at_least)

    return script


def churn(median: float, shape: float, replication: int, gets: int, at_least: float) -> Script:
    """Return a script: sessions of this median and shape; a new node replaces a node that left a minute
    later."""

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
    nodes = run.nodes()
    for node in run.world.rng.sample(nodes, len(nodes) * 3 // 10):
        run.world.kill(node)
    verdicts = run.get_for(MINUTE, 5 * run.values)
    run.promise_right("gets right in the next minute", verdicts, 0.999)


HOT_SPOTS = 10
"""Points around which the keys of `holders` lie, so that many have the same holders."""


def holders(run: ScenarioRun) -> None:
    """All but one of the holders of each value are killed at once."""
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
    """A partition into two halves for 10 min; clients of both put the same keys and new ones."""
    run.join()
    run.put()
    world = run.world
    numbers = range(world.size)
    run.partition(numbers[::2], numbers[1::2])
    run.wait(5 * MINUTE)
    run.put([write.key for write in run.acknowledged()] * 2, label="overwrites")
    run.put(label="puts apart")
    run.wait(5 * MINUTE)
    run.heal()
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
    """30 % of the nodes are behind NATs, which accept datagrams only from addresses that the node has sent
    to."""
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
    """Clients put the same few keys again and again, two puts a second, with 1 to 20 copies, while others get
    them."""
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


def newcomer(run: ScenarioRun) -> None:
    """One more node joins a large network and gets every value."""
    world = run.world
    last = world.size - 1
    run.join(range(last))
    run.put()
    (joined,) = run.join([last])
    run.promise("joined", joined.result, at_least=1)
    run.notes["join seconds"] = joined.seconds
    node = world.nodes[last]
    before = Counter(node.stack.node.lookups_by_hops)
    found = run.get([write.key for write in run.acknowledged()], callers=[node], gap=0.5)
    hops = node.stack.node.lookups_by_hops - before
    run.notes["hops per get"] = sum(hop * count for hop, count in hops.items()) / max(1, hops.total())
    run.notes["log2 of the nodes"] = log2(world.size)
    run.notes["datagrams per get"] = sum(get.datagrams for get in found) / len(found)
    run.notes["p99 ms"] = _p99(found)
    run.promise_right("keys found", verdicts_of(found), 1)


def _p99(outcomes: Sequence[Operation[Any]]) -> float:
    return percentile(sorted(round(1000 * outcome.seconds, 1) for outcome in outcomes), 99)
