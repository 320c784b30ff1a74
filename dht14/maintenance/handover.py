"""Hand-over: a node that is stopping offers its records to the nodes that hold them afterwards.

Runs once, at a planned stop, for at most HAND_OVER_TIMEOUT. Each record is offered twice: to the next holder,
then to the other holders, as far as they lack it.
"""

from collections.abc import Iterable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.maintenance.inventories import DueRecord
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.node.concurrency import run_limited
from dht14.records.store import LocalStore

HAND_OVER_TIMEOUT = 4.0
"""Seconds that a stopping node has for its hand-over: it must end within 5 s."""

HAND_OVERS_AT_ONCE = 32
"""Records that are offered at the same time."""

RECORDS_COMPARED = 480
"""Records that the other holders are asked for at the same time: 20 INVENTORYs to each."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two log lines about the progress."""


@define(eq=False)
class HandOver:
    """One hand-over, until all records are offered or the time is up."""

    log = Logger()

    _neighbourhood: Neighbourhood
    _store: LocalStore
    _replicator: Replicator
    _clock: IReactorTime
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    """Records that were offered to their next holder."""
    _taken: set[int] = field(factory=set, init=False)
    """Keys whose record another node confirmed to have."""
    _logged_at: float = field(default=0.0, init=False)

    def run(self, seconds: float) -> "Deferred[None]":
        """Hand over as many records as possible within `seconds`."""
        running = Deferred.fromCoroutine(self._run())
        deadline = self._clock.callLater(seconds, running.cancel)

        def over(result: object) -> object:
            if not deadline.active():
                return None  # It was cancelled; the results of its parts do not matter.
            deadline.cancel()
            return result

        return running.addBoth(over).addCallback(self._ended)

    def _ended(self, _: object) -> None:
        if self._total:
            self.log.info(
                "Values handed over: {done} of {total}; confirmed by other nodes: {taken}.",
                event="handover.ended",
                done=self._done,
                total=self._total,
                taken=len(self._taken),
            )

    async def _run(self) -> None:
        """Offer records with the fewest copies first; each to the node that becomes a holder when this one is
        gone, and then to the others, which should have it already."""
        keys = await self._keys()
        if not keys or not self._neighbourhood.table.has_live_contact():
            return
        self._total, self._logged_at = len(keys), self._clock.seconds()
        self.log.info("Handing over values: {total}.", event="handover.began", total=len(keys))
        await run_limited(map(self._offer_to_next_holder, keys), HAND_OVERS_AT_ONCE)
        for first in range(0, len(keys), RECORDS_COMPARED):
            await self._offer_to_others(keys[first : first + RECORDS_COMPARED])

    async def _keys(self) -> list[int]:
        """Return the keys of all records except cached ones, those with the fewest copies first."""
        by_copies: list[list[int]] = [[] for _ in range(MAX_REPLICATION + 1)]
        async for page in scan(self._store, self._clock):
            for record in page.records:
                by_copies[record.replication].append(record.key)
        return [key for keys in by_copies[1:] for key in keys]

    async def _offer_to_next_holder(self, key: int) -> None:
        record = self._store.get(key, self._clock.seconds())
        if record is not None:
            is_near = self._neighbourhood.is_near(key, record.replication)
            others = record.replication - 1 if is_near else 0
            if await self._replicator.replicate(record, self._replicator.replica_candidates(key)[others:], 1):
                self._taken.add(key)
        self._done += 1
        if self._clock.seconds() - self._logged_at >= PROGRESS_INTERVAL:
            self._logged_at = self._clock.seconds()
            self.log.info(
                "Values handed over so far: {done} of {total}.",
                event="handover.progress",
                done=self._done,
                total=self._total,
            )

    async def _offer_to_others(self, keys: Iterable[int]) -> None:
        due = [one for key in keys if (one := self._due_to_others(key)) is not None]
        lacking = await self._replicator.inventories.lacking(due)
        missing = {one.record.key: len(one.contacts) for one in lacking}
        self._taken.update(
            one.record.key for one in due if missing.get(one.record.key, 0) < len(one.contacts)
        )
        await run_limited(map(self._offer, lacking), HAND_OVERS_AT_ONCE)

    def _due_to_others(self, key: int) -> DueRecord | None:
        record = self._store.get(key, self._clock.seconds())
        if record is None:
            return None
        others = self._replicator.replica_candidates(key)[: record.replication - 1]
        return DueRecord(record, others) if others else None

    async def _offer(self, due: DueRecord) -> None:
        if (await self._replicator.offer(due.record, due.contacts)).held:
            self._taken.add(due.record.key)
