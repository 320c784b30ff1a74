"""A store read from one end to the other, in pages between which the node does its other work."""

from attrs import frozen

from dht14.records.record import Record

PAGE_RECORDS = 32
PAGE_BYTES = 1 << 18
"""What one page of a store holds at most: to read it takes a millisecond or two."""

BEGINNING = b""
"""The mark before the first page."""


@frozen
class Page:
    """Some of the records of a store, and the mark behind which the next ones stand; None: there are none."""

    records: list[Record]
    mark: bytes | None
