"""The errors that clients raise: all are `DhtError`."""

from collections.abc import Sequence

from dht14.errors import Dht14Error
from dht14.records.receipt import PutReason, Receipt

NOT_READY = "is not ready: it mines its node id, opens its values or joins; dht14 wait waits until it is"
"""What a node says of itself."""

UNFINISHED = "the node ended before it knew what became of it; it may be stored"

REASONS = {
    PutReason.NO_ROOM: "the nodes that should hold it are full, or cannot write",
    PutReason.WRITER_SHARE: "the nodes that should hold it have no more room for this writer",
    PutReason.CONFLICT: "the key has another value, which this one may not replace",
    PutReason.TOO_FEW_HOLDERS: "too few nodes confirmed that they hold it",
    PutReason.NOT_AUTHENTIC: "it does not match its key or its signature",
    PutReason.UNFINISHED: UNFINISHED,
}
"""Why a value is not stored, for people."""


class DhtError(Dht14Error):
    """The root of all errors of the clients."""


class NoNode(DhtError):
    """No DHT node answers at the address: nobody listens, the connection broke twice, or the answer is no
    message of a node.

    A put that ends like this may have been carried out or not.
    """

    def __init__(self, problem: str, place: str = "") -> None:
        """`problem` is what was noticed, at the address `place`."""
        super().__init__(problem, place)
        self.problem, self.place = problem, place

    def __str__(self) -> str:
        return f"no node at {self.place}: {self.problem}" if self.place else self.problem


class TimedOut(DhtError):
    """The node did not answer within the timeout of the call, or ended before it knew what became of a put,
    which may have been carried out or not."""


class Unanswered(TimedOut):
    """The node answered, but the nodes that should know the value did not. The value may exist; try again."""


def is_silence(error: DhtError) -> bool:
    """Whether the node was silent for the whole timeout; not whether it ended before it knew the outcome."""
    return type(error) is TimedOut and error.args != (UNFINISHED,)


class NotReady(DhtError):
    """The node mines its node id, opens its values or joins; `dht14 wait` waits until it is ready. Or it is
    stopping. A put was not begun."""


class TooManyWatches(DhtError):
    """The node, or this connection to it, watches as many keys as it may."""

    def __str__(self) -> str:
        return "the node watches too many keys already, for this client or in all"


class Refused(DhtError):
    """The value is not stored, or not on enough nodes."""

    def __init__(self, reason: PutReason | None = None, copies: int | None = None) -> None:
        super().__init__(reason, copies)
        self.reason = reason
        """Why; None where a node of another kind answered, which gives no reasons."""
        self.copies = copies
        """Nodes that have it on disk all the same; None where the node does not say so."""

    @classmethod
    def by(cls, receipt: Receipt) -> "Refused":
        """The error for a receipt that is none of a stored value."""
        return cls(receipt.reason, receipt.stored)

    def __str__(self) -> str:
        if self.reason is None:
            return "the node could not store it"
        return f"not stored: {REASONS.get(self.reason, 'the node gives no reason')}"


class NotKept(DhtError):
    """The node does not renew the value: its list of kept values is full, or there is nothing to renew."""


class Forged(DhtError):
    """The node answered with a value that its owner has not signed, or whose SHA-256 is not the key."""


class BadKey(DhtError, ValueError):
    """The key is neither 32 bytes, nor 64 hex digits, nor a text."""

    def __init__(self, problem: str, digits: int | None = None) -> None:
        super().__init__(problem, digits)
        self.digits = digits
        """How many hex digits it has, where it looks like a key that has too few or too many."""

    def __str__(self) -> str:
        return str(self.args[0])


class TooLarge(DhtError, ValueError):
    """The value has more bytes than one value may have, or a file more than `get_file` was to take."""

    def __init__(self, size: int, limit: int, is_file: bool = False) -> None:
        super().__init__(size, limit, is_file)
        self.size = size
        self.limit = limit
        self._is_file = is_file

    def __str__(self) -> str:
        if self._is_file:
            return f"the file has {self.size:,} bytes, and at most {self.limit:,} are to be fetched"
        return f"the value has {self.size} bytes, and a value may have {self.limit}"


class Incomplete(DhtError):
    """Some calls of a batch failed; the others were carried out. The first failure is its `__cause__`."""

    def __init__(self, results: Sequence[object]) -> None:
        super().__init__(results)
        self.results = results
        """The result of each call, in order; a `DhtError` where it failed."""

    def __str__(self) -> str:
        failed = [result for result in self.results if isinstance(result, DhtError)]
        return f"{len(failed)} of {len(self.results)} calls failed, the first: {failed[0]}"


class NotAFile(DhtError):
    """What stands under the address is no file."""


class FileFailed(DhtError):
    """A file is not stored, or not fetched, completely. What has been done is not lost: the same call goes on
    from there. What happened is its `__cause__`."""

    def __init__(self, problem: str, bytes_done: int, bytes_total: int | None = None) -> None:
        super().__init__(problem, bytes_done, bytes_total)
        self.problem = problem
        self.bytes_done = bytes_done
        """Bytes that are stored, or fetched, for good."""
        self.bytes_total = bytes_total
        """The size of the file; None where it is not known."""

    def __str__(self) -> str:
        total = "" if self.bytes_total is None else f" of {self.bytes_total:,}"
        last = self.bytes_done if self.bytes_total is None else self.bytes_total
        unit = "byte" if last == 1 else "bytes"
        return f"{self.bytes_done:,}{total} {unit} done, then: {self.problem}"
