"""The periodic passes of one node, with their intervals; each runs as a service of its own."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import LIVENESS_INTERVAL
from dht14.maintenance.announcer import ANNOUNCE_INTERVAL, Announcer
from dht14.maintenance.keep import Keeper
from dht14.maintenance.kept_renewals import keep_interval
from dht14.maintenance.late_copies import LATE_COPY_LOOK, LateCopies
from dht14.maintenance.liveness import Liveness
from dht14.maintenance.periodic import Periodic
from dht14.maintenance.refresh import refresh
from dht14.maintenance.repair import REPAIR_INTERVAL, Repair
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.republish import REPUBLISH_LOOK, Republish
from dht14.maintenance.resync import RESYNC_LOOK, ResyncRequests
from dht14.node.join import Join
from dht14.node.node import Node
from dht14.node.ports import Resolver, Rpc
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import ResyncState
from dht14.records.store import LocalStore

TIDY_INTERVAL = 60.0
"""Seconds between two passes that remove sessions that are over."""


@frozen(kw_only=True)
class Passes:
    """Makes the passes of one node. Intervals in seconds."""

    node: Node
    rpc: Rpc
    liveness: Liveness
    clock: IReactorTime
    rng: random.Random
    refresh_interval: float
    republish_interval: float
    cleanup_interval: float

    def _periodic(self, name: str, interval: float, one_pass: Callable[[], Any]) -> Periodic:
        return Periodic(name, interval, one_pass, self.clock, self.rng)

    def of_contacts(self, tidy_sessions: Callable[[float], object]) -> Iterator[Periodic]:
        """Make the passes of every node."""
        node, clock, rng, interval = self.node, self.clock, self.rng, self.refresh_interval
        liveness = self._periodic("liveness", LIVENESS_INTERVAL, self.liveness.one_pass)

        def contact_failed() -> None:
            if self.liveness.needs_pass():
                liveness.run_now()

        node.table.on_suspect = contact_failed
        yield liveness
        yield self._periodic("refresh", interval, lambda: refresh(node, clock, rng, interval))
        yield self._periodic("sessions", TIDY_INTERVAL, lambda: tidy_sessions(clock.seconds()))

    def of_advertised(self, address: Address, resolve: Resolver) -> Iterator[Periodic]:
        """Make the pass of a node with an advertised address."""
        announcer = Announcer(address, self.node.table, self.rpc, resolve, self.clock)
        yield self._periodic("announce", ANNOUNCE_INTERVAL, announcer.announce)

    def of_records(
        self,
        store: LocalStore,
        replicator: Replicator,
        republish_times: RepublishTimes,
        resync_state: ResyncState,
        join: Join,
    ) -> Iterator[Periodic]:
        """Make the passes of a node that stores records."""
        node, rpc, clock = self.node, self.rpc, self.clock
        republish = Republish(
            node, store, replicator, republish_times, clock, self.rng, self.liveness.repair_interval
        )
        repair = Repair(node.table, store, replicator, republish_times, rpc, clock, resync_state)
        resync = ResyncRequests(
            resync_state,
            node.table,
            rpc,
            clock,
            lambda: bool(join.first_try.called),
            lambda: node.find_nodes(node.own_id),
        )
        join.first_try.addCallback(lambda _: resync.one_pass())
        answering = self._periodic(
            "resync of others",
            REPAIR_INTERVAL,
            lambda: repair.serve_askers() if repair.has_askers() else None,
        )
        resync_state.on_request = answering.run_now
        republish_look = min(REPUBLISH_LOOK, self.republish_interval / 4)
        yield self._periodic("expiry", self.cleanup_interval, lambda: store.expire(clock.seconds()))
        yield self._periodic("republish", republish_look, republish.one_pass)
        yield self._periodic(
            "repair", REPAIR_INTERVAL, lambda: repair.one_pass() if repair.has_news() else None
        )
        yield self._periodic("resync", RESYNC_LOOK, resync.one_pass)
        yield answering
        late = LateCopies(node.table, replicator, clock)
        node.call_for_missed(late.missed)
        yield self._periodic(
            "late copies", LATE_COPY_LOOK, lambda: late.one_pass() if late.has_any() else None
        )

    def of_kept(self, keeper: Keeper, min_ttl: float) -> Periodic:
        """Make the pass of a node that keeps values for its clients."""
        keep = self._periodic("keep", keep_interval(min_ttl), keeper.one_pass)
        keeper.renewals.on_due = keep.run_now
        return keep
