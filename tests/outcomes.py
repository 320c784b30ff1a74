"""The outcome of a PUT or a GET, as short as most tests need it."""

from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record


def acknowledged(receipt: Receipt) -> bool:
    """Whether the VoidPhone API says SUCCESS."""
    return receipt.acknowledged


def value_of(found: Record | NoRecord) -> bytes | None:
    """The value, None where there is none."""
    return found.value if isinstance(found, Record) else None
