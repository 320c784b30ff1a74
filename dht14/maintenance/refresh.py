"""Refresh (paper, section 2.3): looks up a random id in each bucket range that no lookup has crossed for a
while.

Runs once in each refresh interval. A pass costs one lookup for each stale range, one after the other.
"""

import random

from twisted.internet.interfaces import IReactorTime

from dht14.node.node import Node


async def refresh(node: Node, clock: IReactorTime, rng: random.Random, interval: float) -> None:
    """Look up a random id in each range that no lookup went through for `interval` seconds."""
    for target in node.table.stale_targets(clock.seconds(), interval, rng):
        await node.find_nodes(target)
