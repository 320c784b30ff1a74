"""Joins the network, and joins it again when all known contacts are gone (paper, section 2.3)."""

import random
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.keyspace import shared_prefix
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import K
from dht14.node.node import Node
from dht14.node.ports import Resolver, Rpc
from dht14.node.timers import cancel_timer
from dht14.wire.messages import FindNode, Nodes, Ping

ALONE_INTERVAL = 10.0
"""The longest time between two tries while no contact is alive. Seconds."""

MAX_INTERVAL = 300.0
"""The longest time between two tries otherwise. Seconds. The seeds are called then too: so two networks that
drifted apart find each other."""

FIRST_TRY_TIMEOUT = 2.0
"""Seconds after which the first try is over even if no contact has answered. Once one has answered, the
lookup of the own id has this time as well."""

SAVED_PER_TRY = 20
"""Saved contacts called in one try; the next try calls the next ones."""

MAX_NAMESAKES = 16
"""Addresses called because other nodes named our own id there."""

FAR_RANGES = 32
"""Ranges looked up after a join, the farthest first. In an honest network no neighbour shares more bits with
us; one that chose its id for that must not keep us busy."""

FAR_WIDTH = 8
"""Nodes sought in each range: enough contacts for it, at half the cost of k."""


@frozen
class Retries:
    """The pauses between tries: `quick` times `interval` seconds, then each twice as long."""

    interval: float = 5.0
    quick: int = 2

    def pauses(self, rng: random.Random) -> Iterator[float]:
        """Yield the pauses between tries, in seconds, without end."""
        for _ in range(self.quick):
            yield self.interval
        pause = self.interval
        while True:
            pause = min(2 * pause, MAX_INTERVAL)
            yield pause * rng.uniform(0.8, 1.0)


class Join(Service):
    """Keeps this node in the network from start to stop."""

    log = Logger()

    def __init__(
        self,
        *,
        node: Node,
        rpc: Rpc,
        resolve: Resolver,
        clock: IReactorTime,
        rng: random.Random,
        seeds: Iterable[Seed],
        saved: Iterable[Contact],
        retries: Retries,
    ) -> None:
        self.setName("join")
        self._node = node
        self._rpc = rpc
        self._resolve = resolve
        self._clock = clock
        self._rng = rng
        self._seeds = tuple(seeds)
        self._saved = tuple(saved)
        self._retries = retries
        self._joined: bool | None = None
        """None before the first try has ended."""
        self.first_try: Deferred[None] = Deferred()
        """Fires when this node knows its neighbours, or has found no other node. Before that it cannot know
        what is stored. Never fires if the service is stopped first."""
        self._first_try_limit: IDelayedCall | None = None
        self._own_addresses: set[Address] = set()
        """Addresses of seeds that turned out to be this node itself."""
        self._namesakes: set[Address] = set()
        """Addresses at which others have seen our id, and which were called for that."""
        self._unresolved: set[Seed] = set()
        self._last_known: dict[Seed, list[Address]] = {}
        """The addresses that each seed had when its name was last resolved."""
        self._running: Deferred[None] | None = None

    @property
    def joined(self) -> bool:
        """Whether other nodes had answered this one at the last try."""
        return bool(self._joined)

    def startService(self) -> None:
        """Begin to join, and stay joined until the service stops."""
        super().startService()
        self._first_try_limit = self._clock.callLater(FIRST_TRY_TIMEOUT, self._first_try_over)
        self._running = Deferred.fromCoroutine(self._stay_joined())
        self._running.addErrback(self._ended)

    def stopService(self) -> None:
        """Stop trying."""
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        cancel_timer(self._first_try_limit)

    def _ended(self, failure: Failure) -> None:
        if self.running:
            self.log.failure("Joining has stopped; this is a bug.", failure, event="join.bug")

    async def _stay_joined(self) -> None:
        pauses = self._retries.pauses(self._rng)
        while True:
            began = self._clock.seconds()
            named = await self._call_seeds_and_saved()
            if not self.running:
                return  # A cancelled DeferredList looks as if all its parts had failed.
            joined = self._node.table.has_live_contact()
            if joined and not self._joined:
                await self._enter(named)
                began = self._clock.seconds()
            elif joined:
                await self._look_up_unknown(named)
            elif self._joined:
                pauses = self._retries.pauses(self._rng)
            self._try_over(joined)
            await self._pause(began, next(pauses))

    async def _enter(self, named: list[Contact]) -> None:
        """Look up the neighbours, beginning with those that the seeds have named."""
        self._extend_first_try()
        neighbours = await self._node.find_nodes(self._node.own_id, named)
        self._try_over(True)
        await self._fill_far_buckets(neighbours)

    def _extend_first_try(self) -> None:
        if self._first_try_limit is not None and self._first_try_limit.active():
            self._first_try_limit.reset(FIRST_TRY_TIMEOUT)

    def _first_try_over(self) -> None:
        cancel_timer(self._first_try_limit)
        if not self.first_try.called:
            self.first_try.callback(None)

    def _try_over(self, joined: bool) -> None:
        """A try is over: say so if it has changed anything. Buckets of far ranges fill behind it."""
        self._first_try_over()
        if joined == self._joined:
            return
        self._joined = joined
        if joined:
            self.log.info(
                "Joined the network; contacts: {contacts}.",
                event="join.joined",
                contacts=len(self._node.table),
            )
        elif self._seeds or self._saved:
            self.log.warn(
                "No peer reachable: no seed and no saved contact answered (seeds: {seeds}, saved contacts: "
                "{saved}); retrying in the background.",
                event="join.unanswered",
                seeds=len(self._seeds),
                saved=len(self._saved),
            )
        else:
            self.log.warn(
                "No peer reachable: no seeds are configured. Other nodes can join through this one.",
                event="join.no_seeds",
            )

    async def _pause(self, began: float, seconds: float) -> None:
        """Wait until `seconds` after `began`, or until no contact is alive (checked every ALONE_INTERVAL)."""
        until, next_check = began + seconds, began
        while (now := self._clock.seconds()) < until:
            next_check = max(next_check + ALONE_INTERVAL, now)
            await deferLater(self._clock, min(next_check, until) - now)
            if not self._node.table.has_live_contact():
                return

    async def _fill_far_buckets(self, neighbours: Lookup) -> None:
        """Look up an id in each range beyond the closest neighbour (paper, section 2.3).

        The ranges that are nearer than the k-th node found need no lookup: that of the own id, `neighbours`,
        has found all nodes there. If it has found fewer than k, more may be joining at this moment: none is
        left out.
        """
        table = self._node.table
        far, found = table.far_targets(self._rng)[:FAR_RANGES], neighbours.nearest()
        if neighbours.finished and len(found) == K:
            ranges = 1 + shared_prefix(self._node.own_id, found[-1].node_id)
            for target in far[ranges:]:
                table.looked_up(target, self._clock.seconds())
            far = far[:ranges]
        lookups = [self._node.find_nodes(target, width=FAR_WIDTH) for target in far]
        await gatherResults(lookups, consumeErrors=True)

    async def _look_up_unknown(self, named: list[Contact]) -> None:
        """Look up the own id among contacts that the seeds named and this node does not know: the network may
        have been in two parts."""
        unknown = [contact for contact in named if contact.node_id not in self._node.table]
        if unknown:
            await self._node.find_nodes(self._node.own_id, unknown)

    async def _call_seeds_and_saved(self) -> list[Contact]:
        """Call all addresses of the seeds, and saved contacts if no contact is alive; return the contacts
        they named.

        Returns when the first has answered or all have failed, so that a dead seed delays nothing. The others
        enter the table by themselves when they answer.
        """
        named: list[Contact] = []
        calls = [self._begin(self._call_seed(seed, named)) for seed in self._seeds]
        if not self._node.table.has_live_contact():
            saved = self._saved[:SAVED_PER_TRY]
            self._saved = self._saved[SAVED_PER_TRY:] + saved
            calls += [self._begin(self._call(contact.address, contact.node_id, named)) for contact in saved]
        if calls:
            await DeferredList(calls, fireOnOneCallback=True, consumeErrors=True)
        return named

    def _begin(self, call: Coroutine[Any, Any, None]) -> "Deferred[None]":
        """Begin one call of several. A `DeferredList` hides failures; those that are bugs are logged here."""
        return Deferred.fromCoroutine(call).addErrback(self._call_failed)

    def _call_failed(self, failure: Failure) -> Failure:
        if not failure.check(CallFailed, CancelledError):
            self.log.failure("A call to a seed failed; this is a bug.", failure, event="join.seed_bug")
        return failure

    async def _call_seed(self, seed: Seed, named: list[Contact]) -> None:
        if seed.node_id == self._node.own_id:
            raise CallFailed
        addresses = await self._resolve(seed.host, seed.port) or self._last_known.get(seed, [])
        self._last_known[seed] = addresses
        if not addresses and seed not in self._unresolved:
            self._unresolved.add(seed)
            self.log.warn(
                "Seed {host} does not resolve; will retry.", event="join.seed_unresolved", host=seed.host
            )
        calls: list[Deferred[Any]] = [
            self._begin(self._call(address, seed.node_id, named))
            for address in addresses
            if address not in self._own_addresses
        ]
        if not calls:
            raise CallFailed  # An empty DeferredList would never fire.
        answers = await DeferredList(calls, fireOnOneCallback=True, consumeErrors=True)
        if isinstance(answers, list):
            raise CallFailed  # No call was answered: otherwise the result would be a pair.

    async def _call(self, address: Address, node_id: int | None, named: list[Contact]) -> None:
        """Ask an address for the nodes nearest to the own id. Raises CallFailed unless another node
        answers."""
        contact, reply = await self._rpc.ask_address(address, FindNode(self._node.own_id), node_id)
        if contact.node_id == self._node.own_id:
            self._own_addresses.add(address)
            raise CallFailed
        if isinstance(reply, Nodes):
            named.extend(reply.contacts)
            self._call_namesakes(reply.contacts)

    def _call_namesakes(self, contacts: Iterable[Contact]) -> None:
        """Call each address at which others see our own id, once: if another node is there, both log that."""
        for contact in contacts:
            address = contact.address
            if contact.node_id != self._node.own_id or address in self._own_addresses | self._namesakes:
                continue
            if len(self._namesakes) < MAX_NAMESAKES:
                self._namesakes.add(address)
                self._rpc.ask_address(address, Ping(), self._node.own_id).addErrback(lambda _: None)
