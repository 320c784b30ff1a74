"""What the admin surface shows of other nodes: a walk through the network, and the holders of a key."""

import random
from collections.abc import AsyncGenerator

from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Address
from dht14.net.admin.view import HolderJson, NetworkNodeJson, WalkEndJson, event
from dht14.node.inspector import HolderReport
from dht14.node.trace import CallOutcome
from dht14.node.walk import NetworkWalk, VisitedNode
from dht14.records.record import Record
from dht14.stack import Stack

_OUTCOMES = {
    CallOutcome.NOTHING: "holds nothing",
    CallOutcome.FAILED: "no answer",
}


async def walk(stack: Stack, clock: IReactorTime, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield each node that a walk finds, and at last what it found in all, as server-sent events."""
    began_at = clock.seconds()
    walking = NetworkWalk(
        table=stack.table, rpc=stack.rpc, clock=clock, rng=random.SystemRandom(), limit=limit
    )
    nodes = walking.nodes()
    found = reachable = 0
    try:
        async for node in nodes:
            found += 1
            reachable += node.seconds is not None
            yield event("node", _node(node))
    finally:
        await nodes.aclose()
    end = WalkEndJson(
        nodes=found,
        reachable=reachable,
        unasked=walking.unasked,
        left_out=walking.left_out,
        seconds=clock.seconds() - began_at,
    )
    yield event("end", end)


def _node(node: VisitedNode) -> NetworkNodeJson:
    contact = node.contact
    return NetworkNodeJson(
        node_id=f"{contact.node_id:064x}",
        host=contact.address[0],
        port=contact.address[1],
        reachable=node.seconds is not None,
        rtt=node.seconds,
        version=node.software,
        holds_values=node.holds_values,
        contacts_named=node.named,
    )


def holders(
    reports: list[HolderReport], own: Record | None, own_id: int, own_address: Address, now: float
) -> list[HolderJson]:
    """Return what each node near a key says that it holds, and what this node holds itself; nearest first."""
    listed = [_holder(report) for report in reports]
    if own is None:
        return listed
    listed.append(
        HolderJson(
            node_id=f"{own_id:064x}",
            host=own_address[0],
            port=own_address[1],
            this_node=True,
            outcome=CallOutcome.HOLDS.value,
            version=own.version,
            kind=own.kind.name.lower(),
            bytes=len(own.value),
            expires_in=own.expires_at - now,
            seconds=0.0,
        )
    )
    return sorted(listed, key=lambda holder: int(holder["node_id"], 16) ^ own.key)


def _holder(report: HolderReport) -> HolderJson:
    contact = report.contact
    return HolderJson(
        node_id=f"{contact.node_id:064x}",
        host=contact.address[0],
        port=contact.address[1],
        this_node=False,
        outcome=_OUTCOMES.get(report.outcome, report.outcome.value),
        version=report.version,
        kind=report.kind,
        bytes=report.length,
        expires_in=report.ttl,
        seconds=report.seconds,
    )
