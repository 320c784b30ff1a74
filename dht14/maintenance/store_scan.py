"""Scans all records of a store page by page; between two pages the reactor does other work."""

from collections.abc import AsyncIterator

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.records.record import Record
from dht14.records.store import BEGINNING, LocalStore, Page


async def scan(
    store: LocalStore, clock: IReactorTime, pages: int = 1, after: bytes = BEGINNING
) -> AsyncIterator[Page]:
    """Yield some pages at a time, as one, beginning after the mark `after`. Records that come or go during
    the scan may be missing."""
    mark: bytes | None = after
    records: list[Record] = []
    turns = 0
    while mark is not None:
        page = store.page(mark, clock.seconds())
        records += page.records
        mark = page.mark
        turns += 1
        if mark is None or turns % pages == 0:
            yield Page(records, mark)
            records = []
        await deferLater(clock, 0)
