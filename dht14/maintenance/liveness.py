"""What a node does unasked, one pass each: refresh and liveness."""

import random

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.lifetimes import Lifetimes
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.node import Node
from dht14.node.ports import Rpc
from dht14.wire.messages import Ping


async def refresh(node: Node, clock: IReactorTime, rng: random.Random, interval: float) -> None:
    """Look up a random id in each range that no lookup went through for `interval` seconds."""
    for target in node.table.stale_targets(clock.seconds(), interval, rng):
        await node.find_nodes(target)


@define(eq=False)
class Liveness:
    """Pings contacts in turn, and learns from what becomes of them how long contacts live."""

    _table: RoutingTable
    _rpc: Rpc
    _clock: IReactorTime
    _republish_interval: float
    _lifetimes: Lifetimes = field(init=False)
    _losses: int = field(default=0, init=False)
    """Of the table, at the last look."""

    def __attrs_post_init__(self) -> None:
        self._lifetimes = Lifetimes(self._clock.seconds())

    def repair_interval(self) -> float:
        """Seconds between two looks at whether a record has its holders, as contacts live now."""
        return self._lifetimes.repair_interval(self._republish_interval)

    def one_pass(self) -> None:
        """Ping those who are due. The table learns of the outcome by itself; nobody else waits for it."""
        now, losses = self._clock.seconds(), self._table.losses
        self._lifetimes.observed(now, len(self._table), losses - self._losses)
        self._losses = losses
        for contact in self._table.contacts_to_ping(now, self.repair_interval()):
            self._rpc.ask(contact, Ping()).addErrback(lambda _: None)
