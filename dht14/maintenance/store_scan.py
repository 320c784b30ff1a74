"""Scans all records of a store page by page; between two pages the reactor does other work."""

from collections.abc import AsyncIterator, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.records.record import Record
from dht14.records.store import BEGINNING, LocalStore


async def scan(store: LocalStore, clock: IReactorTime) -> AsyncIterator[Sequence[Record]]:
    """Yield the records of each page. Records that come or go during the scan may be missing."""
    mark: bytes | None = BEGINNING
    while mark is not None:
        page = store.page(mark, clock.seconds())
        yield page.records
        mark = page.mark
        await deferLater(clock, 0)
