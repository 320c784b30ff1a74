"""Runs lookups over an `Rpc`; the routing table and the eclipse detector learn from them."""

from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.eclipse import EclipseDetector
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import ALPHA, ALPHA_FAR, GROUP, OPERATION_TIMEOUT, PATHS, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.hedging import Hedges
from dht14.node.lookup_deadlines import LookupDeadlines
from dht14.node.lookup_run import AnyLookup, LookupRun, OnReply
from dht14.node.ports import Rpc
from dht14.records.store import Refusal
from dht14.wire.messages import FindNode, FindValue, Nodes, Ping, Refused, Reply, Request

W = TypeVar("W", Lookup, DisjointLookup)


class LookupObserver(Protocol):
    """Watches all lookups of a node, for an operator. It must not change them."""

    def lookup_began(self, lookup: AnyLookup, request: Request, rpc: Rpc) -> Rpc:
        """A lookup begins. Return the `Rpc` that it must use: this one, or one that passes calls on to it."""

    def lookup_ended(self, lookup: AnyLookup) -> None:
        """A lookup has ended, or was cancelled."""


@define(eq=False)
class Lookups:
    """The lookups of one node."""

    neighbourhood: Neighbourhood
    _rpc: Rpc
    clock: IReactorTime
    lookups_by_hops: Counter[int] = field(factory=Counter, init=False)
    """Finished lookups by their number of hops."""
    eclipse_detector: EclipseDetector = field(init=False)
    _deadlines: LookupDeadlines = field(init=False)
    _hedges: Hedges = field(init=False)
    observer: LookupObserver | None = field(default=None, init=False)
    """None unless an operator looks."""
    is_stopping: bool = field(default=False, init=False)
    """Whether the node stops: calls fail, which says nothing about the contacts that were called."""

    def __attrs_post_init__(self) -> None:
        self.eclipse_detector = EclipseDetector(self.neighbourhood)
        self._deadlines = LookupDeadlines(self.clock)
        self._hedges = Hedges(self.clock)

    @property
    def table(self) -> RoutingTable:
        """The contacts of this node."""
        return self.neighbourhood.table

    def stop(self) -> None:
        """The node stops: leave no timer. Its `Rpc` fails the calls under way next."""
        self.is_stopping = True
        self._deadlines.stop()
        self._hedges.stop()

    def spares(self, lookup: Lookup, near: int, far: int) -> int:
        """Return how many contacts a read asks beyond those that it needs: these many over near paths and
        over far ones, and over near ones none while this process is busy."""
        if lookup.is_far:
            return far
        return 0 if self._hedges.is_busy else near

    def over(self, rpc: Rpc) -> "Lookups":
        """Return lookups that use another `Rpc`, and share all else with these."""
        other = copy(self)
        other._rpc = rpc
        return other

    def find_nodes(
        self, target: int, known: Iterable[Contact] = (), width: int = K, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Lookup]":
        """Find the `width` nodes nearest to `target` within `timeout` seconds; fires with the lookup.

        The lookup begins with the contacts of the table and the `known` ones.
        """
        lookup = self.new_lookup(target, width)
        lookup.heard_of(known)
        return self.run(lookup, FindNode(target), nodes_replied, timeout)

    def new_lookup(self, target: int, width: int, purpose: Purpose = Purpose.NODES) -> Lookup:
        """Return a lookup that begins with the contacts of the table."""
        nearest = self.table.closest(target, K)
        lookup = Lookup(
            target,
            self.table.own_id,
            width,
            usual_rtt=self.table.usual_rtt(nearest[:GROUP]),
            purpose=purpose,
            subnet_of=self.table.subnet_of,
        )
        lookup.alpha = ALPHA_FAR if lookup.is_far else ALPHA
        lookup.heard_of(nearest)
        return lookup

    def new_disjoint_lookup(self, target: int, replication: int) -> DisjointLookup:
        """Return a lookup of all nodes in the region of a crowded key."""
        table = self.table
        known = table.closest(target, PATHS * K)
        return DisjointLookup.of(
            target, table.own_id, known, replication, self.neighbourhood.region(replication), table.subnet_of
        )

    def run(
        self,
        lookup: W,
        request: Request,
        on_reply: OnReply,
        timeout: float,
        on_unheard: Callable[[Contact], None] | None = None,
    ) -> "Deferred[W]":
        """Run a lookup; fires with it when it has ended, at the latest after `timeout` seconds.

        `on_unheard` is called after that for each contact that was asked and never answered.
        """
        rpc = self._rpc
        if self.observer is not None:
            rpc = self.observer.lookup_began(lookup, request, rpc)
        run = LookupRun(lookup, request, partial(self._replied, on_reply), rpc, on_unheard)
        ended = run.run(self._deadlines, max(timeout, 0.0))
        if isinstance(lookup, Lookup) and isinstance(request, FindValue):
            run.hedge(self._hedges, lookup)
        return ended.addCallbacks(lambda _: self._ended(lookup), partial(self._cancelled, lookup))

    def _replied(self, on_reply: OnReply, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        if isinstance(reply, Nodes):
            self.table.reported(contact.node_id, reply.holds_values)
        elif isinstance(reply, Refused):
            self.table.reported(contact.node_id, reply.reason is not Refusal.NO_VALUES)
        on_reply(lookup, contact, reply)

    def ping(self, contacts: Iterable[Contact], timeout: float) -> "Deferred[Any]":
        """As `ping_all`."""
        return ping_all(self._rpc, contacts, self.clock, timeout)

    def _cancelled(self, lookup: AnyLookup, failure: Failure) -> Failure:
        if self.observer is not None:
            self.observer.lookup_ended(lookup)
        return failure

    def _ended(self, lookup: W) -> W:
        if self.observer is not None:
            self.observer.lookup_ended(lookup)
        self.table.looked_up(lookup.target, self.clock.seconds())
        self.lookups_by_hops[lookup.hops] += 1
        self.eclipse_detector.lookup_ended(lookup)
        return lookup


def ping_all(rpc: Rpc, contacts: Iterable[Contact], clock: IReactorTime, timeout: float) -> "Deferred[Any]":
    """PING these contacts; fires when all have answered or failed, or after `timeout` seconds."""
    asked = [rpc.ask(contact, Ping()) for contact in contacts]
    return DeferredList(asked, consumeErrors=True).addTimeout(timeout, clock).addErrback(_timed_out)


def _timed_out(failure: Failure) -> None:
    failure.trap(TimeoutError)


def nodes_replied(lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
    """A contact answered a FIND_NODE."""
    if isinstance(reply, Nodes):
        lookup.answered(contact, reply.contacts)
    else:
        lookup.refused(contact)
