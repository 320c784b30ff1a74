"""The operations of clients: each put with its response, each get with its verdict. `history` judges them."""

from enum import Enum
from math import inf

from attrs import define, field, frozen

from dht14.records.receipt import PutOutcome, Receipt
from dht14.records.record import Kind, Record


class GetVerdict(Enum):
    """The verdict on one get."""

    RIGHT = "right"
    LOST = "lost"
    """It returned nothing, but a value was acknowledged and has not expired."""
    STALE = "stale"
    """It returned an older value than one that was acknowledged before the get was invoked."""
    EXPIRED = "expired"
    """The value had expired before the get was invoked."""
    FORGED = "forged"
    """No client that may write under the key put this value."""
    EXCUSED = "excused"
    """One of these, but more nodes were lost or hostile than the promise covers."""


GOOD = (GetVerdict.RIGHT, GetVerdict.EXCUSED)


class PutResponse(Enum):
    """The response to a put."""

    UNKNOWN = "unfinished"
    STORED = "stored"
    SUPERSEDED = "superseded"
    """Stored, but a later write has won: that one must be in the history too."""
    FAILED = "failed"

    @classmethod
    def of(cls, answer: bool | Receipt) -> "PutResponse":
        """Return the response for a bool (acknowledged or not) or a receipt."""
        if isinstance(answer, Receipt) and answer.outcome is PutOutcome.SUPERSEDED:
            return cls.SUPERSEDED
        acknowledged = answer if isinstance(answer, bool) else answer.acknowledged
        return cls.STORED if acknowledged else cls.FAILED


@define(eq=False)
class Write:
    """One put. Key and value determine its kind and its owner's number."""

    number: int
    """In the order of invocations."""
    record: Record = field(repr=False)
    """The record that was put, with the owner's number as its version; its expiry is the earliest
    possible."""
    kind: Kind | None
    """None: the value is not valid under its key, and no node may store it."""
    invoked_at: float
    client: str = ""
    """The client and its node."""
    responded_at: float = inf
    response: PutResponse = PutResponse.UNKNOWN
    settled: float = inf
    """When it replaces older values: at the response, or when the network agrees again."""
    first_seen: float = inf
    """When the first get that returned it ended."""

    @property
    def key(self) -> int:
        """Of the record."""
        return self.record.key

    @property
    def value(self) -> bytes:
        """Of the record."""
        return self.record.value

    @property
    def expires_at(self) -> float:
        """Of the record."""
        return self.record.expires_at

    @property
    def acknowledged(self) -> bool:
        """Whether the response says that it is stored."""
        return self.response in (PutResponse.STORED, PutResponse.SUPERSEDED)

    @property
    def leaves_value(self) -> bool:
        """Whether a get can return it: an owner's deletion leaves nothing."""
        return not (self.kind is Kind.OWNER and self.record.is_tombstone)

    def replaces(self, other: "Write") -> bool:
        """Whether no get may return the other write once both are acknowledged."""
        if other is self:  # Its response may have come at the instant of its invocation.
            return False
        kind, others = self.kind or 0, other.kind or 0
        if kind != others:
            return kind > others
        if kind == Kind.OPEN:
            return self.invoked_at >= other.settled
        return kind == Kind.OWNER and self.record.version > other.record.version

    def outlasts(self, other: "Write") -> bool:
        """Whether this write is still valid after the other one."""
        return other is self or self.kind is Kind.CONTENT or self.replaces(other)

    def describe(self, since: float) -> str:
        """Describe it in one line, with times relative to `since`."""
        what = f"seq {self.record.version}, " if self.kind is Kind.OWNER else ""
        gone = "" if self.leaves_value else "deletion, "
        until = "..." if self.responded_at == inf else f"{self.responded_at - since:.3f}"
        began = f"{self.invoked_at - since:.3f}"
        return (
            f"put {self.number} ({what}{gone}r {self.record.replication}, {began}-{until} s "
            f"{self.response.value}{_at(self.client)})"
        )


@frozen
class Read:
    """One get with its verdict."""

    key: int
    kind: Kind
    """The highest kind that was put under the key."""
    verdict: GetVerdict
    found: bytes | None = field(repr=False)
    invoked_at: float
    responded_at: float
    client: str
    expected: Write | None
    """The write that it must return, or a later one; None where it may return nothing."""
    seen: Write | None
    """The write that it returned."""

    def describe(self, since: float) -> str:
        """Describe it in one line, with times relative to `since`."""
        if self.seen is not None:
            brought = self.seen.describe(since)
        else:
            brought = "nothing" if self.found is None else f"bytes of nobody: {self.found[:16].hex()}..."
        wanted = f" rather than {self.expected.describe(since)}" if self.expected is not None else ""
        if self.verdict is GetVerdict.EXPIRED and self.seen is not None:
            wanted = f", which expired at {self.seen.expires_at - since:.3f} s"
        times = f"{self.invoked_at - since:.3f}-{self.responded_at - since:.3f} s"
        return (
            f"{self.verdict.value}: {self.kind.name.lower()} key {self.key >> 224:08x}, get "
            f"{times}{_at(self.client)} brought {brought}{wanted}"
        )


def _at(client: str) -> str:
    return f" at {client}" if client else ""
