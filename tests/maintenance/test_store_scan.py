from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.maintenance.store_scan import scan
from dht14.records.record import Record
from dht14.records.store import PAGE_RECORDS
from dht14.sim.memory_store import MemoryStore


class PagesTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Every record comes once, a page at a time, and between two pages the reactor runs."""
        clock = Clock()
        store = MemoryStore(0, 1 << 20, lambda record: True)
        keys = range(1, 2 * PAGE_RECORDS + 2)
        for key in keys:
            store.offer(
                Record(key=key, value=b"value", version=1, expires_at=100, replication=8),
                0,
                lambda verdict: None,
            )
        seen: list[list[int]] = []

        async def walk() -> None:
            async for page in scan(store, clock):
                seen.append([record.key for record in page.records])

        walked = Deferred.fromCoroutine(walk())
        self.assertEqual(len(seen), 1)
        while clock.getDelayedCalls():
            clock.advance(0)
        self.successResultOf(walked)
        self.assertEqual([len(page) for page in seen], [PAGE_RECORDS, PAGE_RECORDS, 1])
        self.assertEqual(sorted(key for page in seen for key in page), list(keys))
