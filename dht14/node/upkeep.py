"""What a node does unasked, one pass each: refresh and liveness."""

import random

from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.routing_table import RoutingTable
from dht14.node.node import Node
from dht14.node.ports import Rpc
from dht14.wire.messages import Ping


async def refresh(node: Node, clock: IReactorTime, rng: random.Random, interval: float) -> None:
    """Look up a random id in each range that no lookup went through for `interval` seconds."""
    for target in node.table.stale_targets(clock.seconds(), interval, rng):
        await node.find_nodes(target)


def check_liveness(table: RoutingTable, rpc: Rpc, clock: IReactorTime) -> None:
    """Ping the contact heard of longest ago, and some of those whose last call failed.

    The table learns of the outcome by itself; nobody else waits for it.
    """
    for contact in table.due_for_ping(clock.seconds()):
        rpc.ask(contact, Ping()).addErrback(lambda _: None)
