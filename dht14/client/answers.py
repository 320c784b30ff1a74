"""What a node answers, as values: the receipt of a put, the value of a get. Each is verified before it is
returned."""

from typing import Literal

from attrs import field, frozen

from dht14.client.errors import NOT_READY, UNFINISHED, Forged, NotReady, Refused, TimedOut, Unanswered
from dht14.client.keys import content_key
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes
from dht14.records.envelope import Envelope, is_envelope
from dht14.records.receipt import NoRecord, PutOutcome, PutReason
from dht14.wire.api_messages import ApiReply, FoundRecord, MissingRecord, PutReceipt, Success

# Whatever verifies a signature is imported where it is needed: it takes as long as all the rest.

ValueKind = Literal["open", "owner", "content"]

KINDS: dict[int, ValueKind] = {1: "open", 2: "owner", 3: "content"}
"""The kinds of records, by their numbers in the API."""


def _shortened(raw: bytes | None) -> str:
    """How bytes of any length are shown."""
    return repr(raw) if raw is None or len(raw) <= 64 else f"<{len(raw)} bytes>"


@frozen(kw_only=True)
class Receipt:
    """What became of a put that succeeded. From a node of another kind, which gives no receipts, only
    `key`."""

    key: bytes = field(repr=bytes.hex)
    """Where the value is: 32 bytes."""
    outcome: PutOutcome | None = None
    """Stored as wanted, stored by all that can be reached, or superseded by a later write of the same key."""
    copies: int | None = None
    """Nodes that have it on disk, the asked one included; 255 may mean more."""
    wanted: int | None = None
    """Nodes that were asked for. Five at least keep a value, so `copies` may exceed it."""
    version: int | None = None
    """The number that the value was given; of an owner's value its own `seq`; 0 for content."""


@frozen(kw_only=True)
class Value:
    """A value that was found."""

    value: bytes = field(repr=_shortened)
    """The bytes that were put; of an owner's value without the signed envelope around them."""
    kind: ValueKind
    """Who may replace it: anyone (`open`), its `owner`, or nobody (`content`: its SHA-256 is the key)."""
    version: int | None = None
    """Of two values of a key the greater wins; of an owner's value its `seq`. None where the node does not
    say so."""
    expires_in: int | None = None
    """Seconds that are left. None where the node does not say so."""
    owner: bytes | None = None
    """The public key (32 bytes) that has signed it."""
    salt: bytes | None = None
    """Distinguishes the values of one owner."""
    envelope: bytes | None = field(default=None, repr=_shortened)
    """An owner's value as it is stored. Anyone may put it again under the same key."""


def receipt_from(reply: ApiReply) -> Receipt:
    """Return the receipt of a put. Raises `NotReady`, `Refused`, or `TimedOut` if the node does not know."""
    if not isinstance(reply, PutReceipt):
        if isinstance(reply, Success):
            return Receipt(key=reply.key)
        raise Refused
    receipt = reply.receipt
    if not receipt.acknowledged:
        if receipt.reason is PutReason.UNFINISHED:
            raise TimedOut(UNFINISHED)
        if receipt.reason is PutReason.NOT_READY:
            raise NotReady(f"the node {NOT_READY}")
        raise Refused.by(receipt)
    return Receipt(
        key=reply.key,
        outcome=receipt.outcome,
        copies=receipt.stored,
        wanted=receipt.wanted,
        version=receipt.version,
    )


def value_from(reply: ApiReply) -> Value | None:
    """Return the value of a get, verified; None where there is none. Raises `NotReady`, `Unanswered`,
    `Forged`."""
    if isinstance(reply, FoundRecord):
        kind = KINDS[reply.kind]
        if kind == "content" and content_key(reply.value) != reply.key:
            raise Forged("the node answered with a value whose SHA-256 is not the key")
        if kind == "owner" or (kind == "open" and is_envelope(reply.value)):
            return _owners_value(reply, reply.ttl)
        return Value(value=reply.value, kind=kind, version=reply.version, expires_in=reply.ttl)
    if isinstance(reply, Success):
        # Another kind of node, or a value that is too large for what a RECORD says besides.
        if content_key(reply.value) == reply.key:
            return Value(value=reply.value, kind="content")
        if is_envelope(reply.value):
            return _owners_value(reply, None)
        return Value(value=reply.value, kind="open")
    if isinstance(reply, MissingRecord):
        if reply.reason is NoRecord.NOT_READY:
            raise NotReady(f"the node {NOT_READY}")
        if reply.reason is NoRecord.UNANSWERED:
            raise Unanswered("the nodes that should know the value did not answer; try again")
    return None


def envelope_from(key: bytes, value: bytes) -> Envelope:
    """Return the envelope that these bytes are. Raises `Forged` unless the owner of `key` has signed it."""
    from dht14.records.signing import verify_envelope

    try:
        envelope = verify_envelope(value)
    except Malformed as flaw:
        raise Forged(f"the node answered with {flaw}") from None
    if envelope.key != id_from_bytes(key):
        raise Forged("the node answered with an envelope of another key")
    return envelope


def _owners_value(reply: FoundRecord | Success, ttl: int | None) -> Value | None:
    envelope = envelope_from(reply.key, reply.value)
    if envelope.deleted:
        return None
    return Value(
        value=envelope.payload,
        kind="owner",
        version=envelope.seq,
        expires_in=ttl,
        owner=envelope.public_key,
        salt=envelope.salt,
        envelope=reply.value,
    )
