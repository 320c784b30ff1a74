"""A value that a node in this process renews."""

from typing import Literal

from attrs import field, frozen

from dht14.client.errors import DhtError, NotKept, NotReady, Unanswered
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.kept import KeepRefusal, KeptEntry, explained
from dht14.records.receipt import NoRecord


@frozen(kw_only=True)
class KeptValue:
    """A value on the list of a node, without its bytes. Times in seconds."""

    key: bytes = field(repr=bytes.hex)
    """32 bytes."""
    state: Literal["renewed", "replaced", "deleted"]
    """What the node does: it renews the value, or nothing, since others replaced it or its owner deleted
    it."""
    version: int
    """As in `Receipt`."""
    size: int
    """Bytes of the value as it is stored."""
    ttl: int
    """How long it lives after each renewal."""
    renewed: float
    """How long ago it was last renewed or put. Of a value that `keep` has found, and that is not renewed yet,
    as if it had been put to live for `ttl`: nobody has said when it was."""
    expires_in: float
    """When it expires unless it is renewed."""
    failure: str | None
    """Why the last renewal failed; the node goes on trying."""


_STATES: tuple[Literal["renewed", "replaced", "deleted"], ...] = ("renewed", "replaced", "deleted")


def kept_value(entry: KeptEntry, now: float) -> KeptValue:
    """Return an entry of the list as callers see it."""
    return KeptValue(
        key=id_to_bytes(entry.key),
        state=_STATES[entry.state],
        version=entry.version,
        size=entry.size,
        ttl=entry.ttl,
        renewed=now - entry.renewed_at,
        expires_in=entry.expires_at - now,
        failure=explained(entry.failure) if entry.failure else None,
    )


def not_kept(refusal: KeepRefusal | NoRecord) -> DhtError:
    """Return the error for a value that is not kept."""
    if refusal in (KeepRefusal.NOT_READY, NoRecord.NOT_READY):
        return NotReady("the list of kept values cannot be used: the node is not ready, or its disk fails")
    if refusal is NoRecord.UNANSWERED:
        return Unanswered("the nodes that should know the value did not answer")
    return NotKept(refusal.value if isinstance(refusal, KeepRefusal) else _MISSING[refusal])


_MISSING = {
    NoRecord.NOT_FOUND: "there is no value under the key: put it first",
    NoRecord.DELETED: KeepRefusal.DELETED.value,
}
