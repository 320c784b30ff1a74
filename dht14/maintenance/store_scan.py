"""All records of a store, page by page; between two pages the reactor does its other work."""

from collections.abc import AsyncIterator, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.records.record import Record
from dht14.records.store import BEGINNING, LocalStore


async def scan(store: LocalStore, clock: IReactorTime) -> AsyncIterator[Sequence[Record]]:
    """The records of one page after the other; those that are put meanwhile may be among them or not."""
    mark: bytes | None = BEGINNING
    while mark is not None:
        page = store.page(mark, clock.seconds())
        yield page.records
        mark = page.mark
        await deferLater(clock, 0)
