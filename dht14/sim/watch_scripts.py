"""Watched keys while most of the nodes that should report changes lie to the watchers, or report nothing."""

import random
from collections import defaultdict
from functools import partial

from attrs import define, evolve, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP
from dht14.node.leases import LEASE_SECONDS
from dht14.node.metrics import ReadCause
from dht14.node.ports import Respond
from dht14.node.responder import Responder
from dht14.node.watch_state import Found
from dht14.records.record import Record
from dht14.sim.attacks import spread_out
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.run import MINUTE, SETTLE, ScenarioRun
from dht14.stack import MakeResponder
from dht14.wire.messages import NOTHING_HELD, Notify, Request, Watch, Watching, mark_of

CRY_INTERVAL = 0.25
"""Seconds between two rounds of a crier's NOTIFYs."""

QUIET_MINUTES = 10
CHANGES = 5
"""Of each key."""

TOLD_TIMEOUT = 30.0
"""Seconds in which a change must be told to count at all."""


Listeners = defaultdict[int, dict[int, Contact]]
"""By key, those who listen, by their ids."""


class Mute(Responder):
    """Gives every lease that it is asked for, and never reports a change."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """As `Responder.answer`, except for leases."""
        if isinstance(request, Watch) and request.begins:
            respond(Watching(int(LEASE_SECONDS * 1000), NOTHING_HELD))
        else:
            super().answer(request, sender, now, respond)


@define(eq=False)
class Crier(Mute):
    """Gives every lease as well. It reports changes all the time: invented ones and, now and then, a real
    one, so that it is believed again."""

    listeners: Listeners = field(kw_only=True)

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """As `Mute.answer`, and remember who watches."""
        if isinstance(request, Watch) and request.begins:
            self.listeners[request.key][sender.node_id] = sender
        super().answer(request, sender, now, respond)


LIARS = (True, True, False)
"""Of the group of each key, three of five: whether each is a crier."""


def hostile_holders(run: ScenarioRun) -> None:
    """Some nodes watch a key each. First nothing changes, then each key changes several times."""
    spread_out(run)
    keys = list(run.random_keys(run.values))
    listeners = _place_liars(run, keys)
    run.join()
    told: dict[int, list[bytes]] = {key: [] for key in keys}
    watchers = [_watch(run, key, told[key]) for key in keys]
    run.wait(5.0)
    criers = [_Crying(run.world.nodes[number], heard, run.world.rng) for number, heard in listeners.items()]
    for crier in criers:
        crier.cry(None)
    before = _reads_by_hints(watchers)
    run.wait(QUIET_MINUTES * MINUTE)
    key_minutes = QUIET_MINUTES * len(keys)
    run.notes["lies per key and minute"] = sum(crier.lies for crier in criers) / key_minutes
    run.promise("changes told that were none", sum(map(len, told.values())), at_most=0)
    reads = _reads_by_hints(watchers) - before
    run.promise("reads for lies, per key and minute", reads / key_minutes, at_most=4)
    seconds = sorted(_seconds_until_told(run, key, told[key]) for _ in range(CHANGES) for key in keys)
    run.promise("seconds until changes were told, at most", seconds[-1], at_most=2.0)
    run.notes["seconds until they were told, median"] = seconds[len(seconds) // 2]


def _place_liars(run: ScenarioRun, keys: list[int]) -> dict[int, Listeners]:
    """Make three nodes of the group of each key hostile; return the numbers of the criers, and who listens to
    each."""
    hosts = {host.number: host for host in run.world.hosts if host.role is NodeRole.NODE}
    groups = [
        set(sorted(hosts, key=lambda number: hosts[number].contact.node_id ^ key)[:GROUP]) for key in keys
    ]
    listeners: dict[int, Listeners] = {}
    liars: set[int] = set()
    for group in groups:
        for is_crier in LIARS[len(group & liars) :]:
            number = next((one for one in sorted(group - liars) if _may_lie(one, groups, liars)), None)
            if number is None:
                break
            liars.add(number)
            make: MakeResponder = Mute
            if is_crier:
                listeners[number] = defaultdict(dict)
                make = partial(Crier, listeners=listeners[number])
            run.world.set_host(evolve(hosts[number], make_responder=make))
    return listeners


def _may_lie(number: int, groups: list[set[int]], liars: set[int]) -> bool:
    return all(len(group & liars) < len(LIARS) for group in groups if number in group)


def _watch(run: ScenarioRun, key: int, told: list[bytes]) -> VirtualNode:
    """Watch a key at the honest node that is farthest from it."""

    def tell(found: Found) -> None:
        told.append(found.value if isinstance(found, Record) else b"")

    watcher = max(run.world.callers(), key=lambda node: node.contact.node_id ^ key)
    watch = watcher.stack.node.watches.watch(key, tell)
    assert watch is not None
    watch.present()
    return watcher


@define(eq=False)
class _Crying:
    """What one crier tells."""

    _node: VirtualNode
    _listeners: Listeners
    _rng: random.Random
    lies: int = field(default=0, init=False)

    def cry(self, _: None) -> None:
        """Tell each listener something, now and for ever."""
        store, clock = self._node.stack.store, self._node.process
        assert store is not None
        for key, watchers in self._listeners.items():
            record = store.get(key, clock.seconds())
            truth = NOTHING_HELD if record is None else mark_of(record.version, record.digest)
            for watcher in watchers.values():
                is_lie = self._rng.random() < 0.5
                self.lies += is_lie
                mark = self._rng.randbytes(len(truth)) if is_lie else truth
                self._node.stack.rpc.ask(watcher, Notify(key, mark)).addErrback(lambda _: None)
        clock.callLater(CRY_INTERVAL, self.cry, None)


def _reads_by_hints(watchers: list[VirtualNode]) -> int:
    different = {node.number: node for node in watchers}
    return sum(node.stack.node.watches.metrics.reads[ReadCause.HINT] for node in different.values())


def _seconds_until_told(run: ScenarioRun, key: int, told: list[bytes]) -> float:
    """Put a new value at a random node; return the seconds from then until the watcher is told."""
    clock, value = run.world.clock, run.new_value()
    began = clock.seconds()
    node = run.world.rng.choice(run.world.callers()).stack.node
    put = run.write(key, value, 0, 0, node)
    clock.run_until_true(lambda: value in told, began + TOLD_TIMEOUT)
    seconds = clock.seconds() - began
    clock.run_until_true(lambda: put.called, began + TOLD_TIMEOUT)
    run.wait(SETTLE)
    return seconds
