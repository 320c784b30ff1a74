"""Hand-over: a node that is about to stop gives what it holds to those who hold it afterwards."""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.node.concurrency import run_limited
from dht14.records.store import LocalStore

AT_ONCE = 32
"""Records that are handed over at the same time."""

HAND_OVER_TIMEOUT = 4.0
"""Seconds that a stopping node has to hand over its records: it must have ended after 5 s."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two lines about it."""


@define(eq=False)
class HandOver:
    """One hand-over, from the first record to the last or until the time is up."""

    log = Logger()

    _table: RoutingTable
    _store: LocalStore
    _copies: Replicator
    _clock: IReactorTime
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    """Records that were offered to whoever becomes a holder."""
    _taken: set[int] = field(factory=set, init=False)
    """Keys of which somebody has said that it has the record."""
    _told: float = field(default=0.0, init=False)

    def run(self, seconds: float) -> "Deferred[None]":
        """Hand over what can be handed over in so many seconds."""
        running = Deferred.fromCoroutine(self._run())
        deadline = self._clock.callLater(seconds, running.cancel)

        def over(result: object) -> object:
            if not deadline.active():
                return None  # It was cancelled: what became of its parts is of no interest.
            deadline.cancel()
            return result

        return running.addBoth(over).addCallback(self._ended)

    def _ended(self, _: object) -> None:
        if self._total:
            self.log.info(
                "Handed over {done} of {total} values; of {taken} another node has said that it has them.",
                done=self._done,
                total=self._total,
                taken=len(self._taken),
            )

    async def _run(self) -> None:
        """First what only few have, and first to the one who becomes a holder when we are gone; then we see
        whether the others, who should have it, do."""
        keys = await self._keys()
        if not keys or not self._table.has_live_contact():
            return
        self._total, self._told = len(keys), self._clock.seconds()
        self.log.info("Handing over {total} values.", total=len(keys))
        await run_limited(map(self._give_to_heir, keys), AT_ONCE)
        await run_limited(map(self._give_to_others, keys), AT_ONCE)

    async def _keys(self) -> list[int]:
        """The keys of all records but cached ones, those with the fewest holders first."""
        by_copies: list[list[int]] = [[] for _ in range(MAX_REPLICATION + 1)]
        async for records in scan(self._store, self._clock):
            for record in records:
                by_copies[record.replication].append(record.key)
        return [key for keys in by_copies[1:] for key in keys]

    async def _give_to_heir(self, key: int) -> None:
        record = self._store.get(key, self._clock.seconds())
        if record is not None:
            is_near = self._table.is_near(key, record.replication)
            others = record.replication - 1 if is_near else 0
            if await self._copies.spread(record, self._copies.candidates(key)[others:], 1):
                self._taken.add(key)
        self._done += 1
        if self._clock.seconds() - self._told >= PROGRESS_INTERVAL:
            self._told = self._clock.seconds()
            self.log.info("Handed over {done} of {total} values so far.", done=self._done, total=self._total)

    async def _give_to_others(self, key: int) -> None:
        record = self._store.get(key, self._clock.seconds())
        if record is not None:
            others = self._copies.candidates(key)[: record.replication - 1]
            if others and await self._copies.offer(record, others):
                self._taken.add(key)
