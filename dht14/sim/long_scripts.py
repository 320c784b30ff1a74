"""Scripts of the scenarios that last for days: what a node keeps must not grow with the time that it runs."""

import gc
from collections import deque
from types import MethodType

from dht14.sim.churn import Churn, SessionLengths
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.memory_store import MemoryStore
from dht14.sim.run import DAY, HOUR, ScenarioRun
from dht14.sim.scenario import Script

GET_EVERY = 30.0
"""Seconds between two gets."""
PARTS = 10
"""Of the time; what the nodes keep is counted after each."""
MAX_SLOPE = 500.0
"""Items that a node may keep more after each hour of the second half: a tenth of a megabyte. Caches that
have a limit fill up slowly with keys and nodes that were met; a leak grows with each request or second."""
MAX_TIMERS = 5
"""Timers that a node may have more in the second half: calls are under way at any time."""

CONTAINERS = (dict, list, tuple, set, frozenset, deque)
SIMULATOR = f"{__name__.rpartition('.')[0]}."


def kept_items(node: VirtualNode) -> int:
    """Count the items in all containers that the objects of a node lead to: records, contacts, sessions,
    calls under way, remembered versions and all else. What belongs to the simulator is left out."""
    seen: set[int] = set()
    pending: list[object] = [node.stack]
    items = 0
    while pending:
        thing = pending.pop()
        if id(thing) in seen or not _belongs_to_node(thing):
            continue
        seen.add(id(thing))
        items += len(thing) if isinstance(thing, CONTAINERS) else 0
        pending += gc.get_referents(thing)
    return items


def _belongs_to_node(thing: object) -> bool:
    if isinstance(thing, type):
        return False
    if isinstance(thing, (*CONTAINERS, MethodType, MemoryStore)):
        return True
    modules = (kind.__module__ for kind in type(thing).__mro__)
    return any(name.startswith("dht14.") and not name.startswith(SIMULATOR) for name in modules)


def long_churn(days: float, median: float) -> Script:
    """Return a script: half of the nodes come and go, in sessions of this median, and half stay. Clients put
    and get all the time."""

    def script(run: ScenarioRun) -> None:
        world = run.world
        numbers = [host.number for host in world.hosts if host.role is NodeRole.NODE]
        staying = numbers[len(numbers) // 2 :]
        run.join(range(staying[0]))
        churn = Churn(world, SessionLengths(median))
        churn.start()
        run.join(staying)

        def put(_: object) -> None:
            run.put_in_background()

        for turn in range(run.values):
            world.clock.post(turn * days * DAY / run.values, put, None)
        items, timers = list[int](), list[int]()
        seconds = days * DAY / PARTS
        for _ in range(PARTS):
            run.get_for(seconds, int(seconds / GET_EVERY))
            nodes = [world.nodes[number] for number in staying]
            items.append(max(map(kept_items, nodes)))
            timers.append(max(len(node.process.getDelayedCalls()) for node in nodes))
        run.notes["sessions ended"] = churn.departures
        run.notes["items kept"] = items[-1]
        run.notes["timers"] = timers[-1]
        half = PARTS // 2
        more = max(items[half:]) - max(items[:half])
        run.promise("items kept more, an hour", more / (days * DAY / 2 / HOUR), at_most=MAX_SLOPE)
        run.promise("timers more", max(timers[half:]) - max(timers[:half]), at_most=MAX_TIMERS)
        run.promise_right("gets right", run.verdicts, 0.999)

    return script
