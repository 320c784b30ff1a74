"""A record: one value, its version, and the time at which it expires.

Records of three kinds share one total order. The owner, the sequence number and the signature of an owner's
record are in its value: see `records.envelope`.
"""

import hashlib
from enum import IntEnum

from attrs import evolve, field, frozen

from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.envelope import OWNER_KEY_INPUT_BYTES, decode, is_envelope, may_hash_to_owner_key
from dht14.records.signing import verify_envelope

BRIEF_TTL = 30.0
"""Seconds. A record that arrives with less to live is brief: it costs its writer almost none of its share
of the store, so its version floor is forgotten before others. The default `min_ttl`, 60 s, lets no client
make one."""

EXPIRY_SLACK = 5.0
"""Seconds. A copy that expires later by less than this is the same copy, seen through the delays of the
network."""

SUBNET_BYTES = 16
"""Length of the longest subnet: the address of a private IPv6 host."""
SITE_BYTES = 6
"""Length of an IPv6 /48, as `security.subnets` returns it."""


class Kind(IntEnum):
    """What makes a record valid. Of two kinds under one key the higher wins."""

    OPEN = 1
    """Anyone may write any value: the last write wins."""
    OWNER = 2
    """The key is derived from a public key. Only the owner of the private key can write, in the order of the
    signed sequence numbers."""
    CONTENT = 3
    """The key is the SHA-256 of the value. Nobody can change it, and one answer is enough: it proves
    itself."""


@frozen(kw_only=True)
class Record:
    """A value under a key. The writer decides `expires_at`; no copy lives longer."""

    key: int
    value: bytes = field(repr=False)
    version: int
    expires_at: float
    """Seconds, on the clock of this node. Messages carry the remaining time."""
    replication: int
    """Holders that the writer asked for; 0: a cached copy, in addition to those."""
    writer: int = field(default=0, eq=False)
    """The id of the node that offered it here, which may be this node; 0 if unknown. It is not sent to
    other nodes, and copies with different writers are equal."""
    writer_subnet: bytes = field(default=b"", eq=False)
    """The subnet of the writer, or its host address in private ranges; empty for this node."""
    is_brief: bool = field(default=False, eq=False)
    """Whether it had less than `BRIEF_TTL` seconds to live when it arrived. It is not sent to other nodes."""
    _digest: bytes | None = field(default=None, init=False, eq=False, repr=False)
    _rank: tuple[Kind, int, bytes] | None = field(default=None, init=False, eq=False, repr=False)
    """Computed when they are first asked for. Not with `cached_property`: on a class with slots it makes each
    attribute twice as slow to read."""

    @property
    def is_cached(self) -> bool:
        """Whether it is a copy in addition to those that its writer asked for."""
        return not self.replication

    @property
    def is_owned(self) -> bool:
        """Whether its value begins as an owner's record does."""
        return is_envelope(self.value)

    @property
    def is_authentic(self) -> bool:
        """Whether its kind and version are proven by its value. Every record from outside must pass before it
        is compared with another.

        Content must have version 0: copies that differ would count as several records.
        """
        if not self.is_owned:
            return not self.version or self.kind is not Kind.CONTENT
        try:
            return proven(self).version == self.version
        except Malformed:
            return False

    @property
    def is_tombstone(self) -> bool:
        """Whether its owner has deleted the key."""
        return self.is_owned and decode(self.value).deleted

    @property
    def parties(self) -> tuple[bytes, ...]:
        """The names of the parties (writer, subnet, provider) whose shares of a store the record uses."""
        return party_names(self.writer, self.writer_subnet)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the value. For a large value it is the most expensive step."""
        digest = self._digest
        if digest is None:
            digest = hashlib.sha256(self.value).digest()
            object.__setattr__(self, "_digest", digest)
        return digest

    @property
    def kind(self) -> Kind:
        """The kind, which follows from key and value alone."""
        return self.rank[0]

    @property
    def rank(self) -> tuple[Kind, int, bytes]:
        """Position in the total order of the records of one key: all replicas converge on the greatest.

        Content has no versions: under one key there is only one.
        """
        rank = self._rank
        if rank is None:
            rank = self._find_rank()
            object.__setattr__(self, "_rank", rank)
        return rank

    def _find_rank(self) -> tuple[Kind, int, bytes]:
        digest = self.digest
        if self.is_owned:
            return Kind.OWNER, self.version, digest
        if id_from_bytes(digest) == self.key and not may_hash_to_owner_key(self.value):
            return Kind.CONTENT, 0, digest
        return Kind.OPEN, self.version, digest

    def conflicts_with(self, held: "Record") -> bool:
        """Return whether the owner of this new record did not know `held`.

        That is so if its sequence number is not above that of `held`, or if `held` is newer than the `cas`
        number of this record. An older `held` is no conflict: that holder has missed a write.
        """
        if not (self.is_owned and held.is_owned) or held.value == self.value:
            return False
        cas = decode(self.value).cas
        return held.version >= self.version or (cas is not None and held.version > cas)

    def outlasts(self, held: "Record") -> bool:
        """Return whether this copy of a record lives longer than `held`, or asks for more holders."""
        is_longer = self.expires_at > held.expires_at + EXPIRY_SLACK
        return is_longer or self.replication > held.replication

    def remaining_ms(self, now: float) -> int:
        """Return the milliseconds that it still has to live; 0 or less if it has expired."""
        return int((self.expires_at - now) * 1000)


def party_names(writer: int, subnet: bytes) -> tuple[bytes, ...]:
    """Return the names of a writer, its subnet and, for an IPv6 /48, the /32 of the provider, as far as
    known."""
    names = (id_to_bytes(writer),) if writer else ()
    if not subnet:
        return names
    return (*names, subnet, b"/" + subnet[:4]) if len(subnet) == SITE_BYTES else (*names, subnet)


def advertised_rank(key: int, version: int, owned: bool, digest: bytes) -> tuple[Kind, int, bytes]:
    """Return the rank of a record that a node advertises without its value, if what the node says is true."""
    if owned:
        return Kind.OWNER, version, digest
    if id_from_bytes(digest) == key:
        return Kind.CONTENT, 0, digest
    return Kind.OPEN, version, digest


def is_possible(key: int, version: int, owned: bool, digest: bytes, length: int) -> bool:
    """Return whether a record that a node advertises without its value can be authentic."""
    if owned or not version or id_from_bytes(digest) != key:
        return True
    # Content has no versions, unless its hash may be an owner's key: then it is an open record.
    return length in OWNER_KEY_INPUT_BYTES


def proven(record: Record) -> Record:
    """Return an owner's record with the version that the owner signed.

    Raises `Malformed` unless the owner of this key signed it.
    """
    envelope = decode(record.value)
    if envelope.key != record.key:
        raise Malformed("an envelope under a key that is not its owner's")
    return evolve(record, version=verify_envelope(record.value).seq)


def version_at(now: float) -> int:
    """Return the lowest version of this time: 48 bits of milliseconds, 16 bits of a counter within one."""
    return int(now * 1000) << 16


def time_of(version: int) -> float:
    """Return the time of which a version was made."""
    return (version >> 16) / 1000
