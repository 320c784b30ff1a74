"""Scans all records of a store page by page; between two pages the reactor does other work."""

from collections.abc import AsyncIterator, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.records.record import Record
from dht14.records.store import BEGINNING, LocalStore


async def scan(store: LocalStore, clock: IReactorTime, pages: int = 1) -> AsyncIterator[Sequence[Record]]:
    """Yield the records of some pages at a time. Records that come or go during the scan may be missing."""
    mark: bytes | None = BEGINNING
    records: list[Record] = []
    turns = 0
    while mark is not None:
        page = store.page(mark, clock.seconds())
        records += page.records
        mark = page.mark
        turns += 1
        if mark is None or turns % pages == 0:
            yield records
            records = []
        await deferLater(clock, 0)
