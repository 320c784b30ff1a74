"""Joining the network, and joining it again when everybody known is gone (paper, section 2.3)."""

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
from dht14.node.node import Node
from dht14.node.ports import Resolver, Rpc
from dht14.wire.messages import FindNode, Nodes, Ping

LONELY_INTERVAL = 10.0
"""Seconds between two tries, at the most, while no contact is alive."""

LONGEST_INTERVAL = 300.0
"""Seconds between two tries otherwise. The seeds are called again then too: two networks that grew apart
find each other so."""

FIRST_TRY_SECONDS = 2.0
"""So long the first try may last before this node takes itself for alone; and so long, once somebody has
answered, the lookup of the own id."""

SAVED_AT_ONCE = 20
"""Saved contacts that are called in one try; the next try calls the next ones."""

MOST_NAMESAKES = 16
"""Addresses that are called because somebody names our own id there."""

FAR_RANGES = 32
"""Ranges that are looked up after a join, the farthest first. In no honest network does a neighbour share
more bits with us; one that made its id up for that shall not keep us busy."""

FAR_WIDTH = 8
"""Nodes sought in each of them: enough to be at home there, at half the price of k."""


@frozen
class Retries:
    """So many quick tries, so many seconds apart; after them the pauses double."""

    interval: float = 5.0
    quick: int = 2

    def pauses(self, rng: random.Random) -> Iterator[float]:
        """The pauses between tries, in seconds, for ever."""
        for _ in range(self.quick):
            yield self.interval
        pause = self.interval
        while True:
            pause = min(2 * pause, LONGEST_INTERVAL)
            yield pause * rng.uniform(0.8, 1.0)


class Join(Service):
    """Keeps this node in the network from start to stop."""

    log = Logger()

    def __init__(
        self,
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
        """Fires when this node knows its neighbours, or has found nobody. Before that it cannot know what is
        stored. Never fires when it is stopped before."""
        self._first_try_limit: IDelayedCall | None = None
        self._own_addresses: set[Address] = set()
        """Where a seed turned out to be this node itself."""
        self._namesakes: set[Address] = set()
        """Where others have seen our id, and where it was therefore called."""
        self._unresolved: set[Seed] = set()
        self._last_known: dict[Seed, list[Address]] = {}
        """The addresses that each seed had when its name was last resolved."""
        self._running: Deferred[None] | None = None

    @property
    def joined(self) -> bool:
        """Whether this node was in touch with others when it last looked."""
        return bool(self._joined)

    def startService(self) -> None:
        """Begin to join, and go on for ever."""
        super().startService()
        self._first_try_limit = self._clock.callLater(FIRST_TRY_SECONDS, self._first_try_over)
        self._running = Deferred.fromCoroutine(self._stay_joined())
        self._running.addErrback(self._ended)

    def stopService(self) -> None:
        """Stop trying."""
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        self._end_limit()

    def _ended(self, failure: Failure) -> None:
        if self.running:
            self.log.failure("Joining has stopped; this is a bug.", failure)

    async def _stay_joined(self) -> None:
        pauses = self._retries.pauses(self._rng)
        while True:
            began = self._clock.seconds()
            named = await self._call_everybody()
            if not self.running:
                return  # A DeferredList takes a cancellation for the failure of all its parts.
            joined = self._node.table.has_live_contact()
            if joined and not self._joined:
                self._somebody_answered()
                await self._settle_in(named)
                began = self._clock.seconds()
            elif joined:
                await self._meet(named)
            elif self._joined:
                pauses = self._retries.pauses(self._rng)
            self._first_try_over()
            self._say(joined)
            await self._pause(began, next(pauses))

    def _somebody_answered(self) -> None:
        if self._first_try_limit is not None and self._first_try_limit.active():
            self._first_try_limit.reset(FIRST_TRY_SECONDS)

    def _first_try_over(self) -> None:
        self._end_limit()
        if not self.first_try.called:
            self.first_try.callback(None)

    def _end_limit(self) -> None:
        if self._first_try_limit is not None and self._first_try_limit.active():
            self._first_try_limit.cancel()

    def _say(self, joined: bool) -> None:
        if joined == self._joined:
            return
        self._joined = joined
        if joined:
            self.log.info("Joined the network; {contacts} contacts.", contacts=len(self._node.table))
        elif self._seeds or self._saved:
            self.log.warn(
                "Alone: none of {seeds} seeds and {saved} saved contacts answers. Trying on in the background.",
                seeds=len(self._seeds),
                saved=len(self._saved),
            )
        else:
            self.log.warn("Alone: no seeds are configured. Other nodes may join through this one.")

    async def _pause(self, began: float, seconds: float) -> None:
        """Wait until `seconds` after `began`, or less long: until no contact is alive any more.

        Whether that is so is looked at every LONELY_INTERVAL.
        """
        until, look = began + seconds, began
        while (now := self._clock.seconds()) < until:
            look = max(look + LONELY_INTERVAL, now)
            await deferLater(self._clock, min(look, until) - now)
            if not self._node.table.has_live_contact():
                return

    async def _settle_in(self, named: list[Contact]) -> None:
        """Look up the own id, then an id in each range beyond the closest neighbour (paper, section 2.3)."""
        await self._node.find_nodes(self._node.own_id, named)
        self._first_try_over()
        far = self._node.table.far_targets(self._rng)[:FAR_RANGES]
        lookups = [self._node.find_nodes(target, width=FAR_WIDTH) for target in far]
        await gatherResults(lookups, consumeErrors=True)

    async def _meet(self, named: list[Contact]) -> None:
        """The seeds named contacts: where some are new, another part of the network has been met."""
        strangers = [contact for contact in named if contact.node_id not in self._node.table]
        if strangers:
            await self._node.find_nodes(self._node.own_id, strangers)

    async def _call_everybody(self) -> list[Contact]:
        """Call the seeds, all their addresses, and the saved contacts; the contacts that were named.

        Returns when the first has answered or all have failed: one dead seed holds nobody up. The others
        enter the table by themselves when they answer.
        """
        named: list[Contact] = []
        calls = [self._begin(self._call_seed(seed, named)) for seed in self._seeds]
        if not self._node.table.has_live_contact():
            saved = self._saved[:SAVED_AT_ONCE]
            self._saved = self._saved[SAVED_AT_ONCE:] + saved
            calls += [self._begin(self._call(contact.address, contact.node_id, named)) for contact in saved]
        if calls:
            await DeferredList(calls, fireOnOneCallback=True, consumeErrors=True)
        return named

    def _begin(self, call: Coroutine[Any, Any, None]) -> "Deferred[None]":
        """One call of several. A `DeferredList` is silent about failures; those that are bugs shall be told."""
        return Deferred.fromCoroutine(call).addErrback(self._call_failed)

    def _call_failed(self, failure: Failure) -> Failure:
        if not failure.check(CallFailed, CancelledError):
            self.log.failure("A call to a seed failed; this is a bug.", failure)
        return failure

    async def _call_seed(self, seed: Seed, named: list[Contact]) -> None:
        if seed.node_id == self._node.own_id:
            raise CallFailed
        addresses = await self._resolve(seed.host, seed.port) or self._last_known.get(seed, [])
        self._last_known[seed] = addresses
        if not addresses and seed not in self._unresolved:
            self._unresolved.add(seed)
            self.log.warn("Seed {host} has no address yet; it is looked up again later.", host=seed.host)
        calls: list[Deferred[Any]] = [
            self._begin(self._call(address, seed.node_id, named))
            for address in addresses
            if address not in self._own_addresses
        ]
        if not calls:
            raise CallFailed  # An empty DeferredList that waits for the first of its calls waits for ever.
        answers = await DeferredList(calls, fireOnOneCallback=True, consumeErrors=True)
        if isinstance(answers, list):
            raise CallFailed  # Not one answered: with one that did, it would be a pair.

    async def _call(self, address: Address, node_id: int | None, named: list[Contact]) -> None:
        """Ask one address for the nodes nearest to the own id; CallFailed unless another node answers."""
        contact, reply = await self._rpc.ask_address(address, FindNode(self._node.own_id), node_id)
        if contact.node_id == self._node.own_id:
            self._own_addresses.add(address)
            raise CallFailed
        if isinstance(reply, Nodes):
            named.extend(reply.contacts)
            self._call_namesakes(reply.contacts)

    def _call_namesakes(self, contacts: Iterable[Contact]) -> None:
        """Call whoever has our own id elsewhere, once: where that is another node, both will tell of it."""
        for contact in contacts:
            address = contact.address
            if contact.node_id != self._node.own_id or address in self._own_addresses | self._namesakes:
                continue
            if len(self._namesakes) < MOST_NAMESAKES:
                self._namesakes.add(address)
                self._rpc.ask_address(address, Ping(), self._node.own_id).addErrback(lambda _: None)
