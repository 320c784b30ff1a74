"""A record: one value, its version, and the moment it expires. DESIGN 4.5.

Three kinds of records share one order. What an owner's record consists of beyond that is in its value: see
`storage.envelope`.
"""

import hashlib
from enum import IntEnum
from functools import cached_property

from attrs import evolve, field, frozen

from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.envelope import MAGIC, OWNER_NAMES, decode, may_name_an_owner
from dht14.records.signing import verify

BRIEF = 30.0
"""Seconds. What has less of them to live, when it comes, costs its writer next to no room in the store: its floor
counts less than others. Clients are given a minute at least, where `min_ttl` is not changed."""


SUBNET_BYTES = 16
"""Of the longest subnet: a private host of IPv6."""
SITE_BYTES = 6
"""Of an IPv6 /48, as `security.subnet` gives it."""


class Kind(IntEnum):
    """What makes a record right; of two kinds under one key the higher wins."""

    OPEN = 1
    """Anyone may write any value: the last writer wins."""
    OWNER = 2
    """The key follows from a public key: only who can sign for it may write, in the order of the signed
    numbers."""
    CONTENT = 3
    """The key is the SHA-256 of the value: nobody can change it, and the first answer proves itself."""


@frozen(kw_only=True)
class Record:
    """A value under a key. `expires_at` is fixed by the writer; no copy, however made, lives longer."""

    key: int
    value: bytes = field(repr=False)
    version: int
    expires_at: float
    """Seconds, on the clock of this node. Between nodes the remaining time travels."""
    replication: int
    """How many holders the writer asked for; 0: this is a cached copy, beside those, that nobody counts on."""
    writer: int = field(default=0, eq=False)
    """The id of the node that offered it here, this one perhaps; 0 where that is not known. It does not
    travel, and copies are the same whoever brought them."""
    writer_subnet: bytes = field(default=b"", eq=False)
    """The subnet that the writer called from, or its host where subnets say nothing; empty for this node."""
    is_brief: bool = field(default=False, eq=False)
    """Whether it had less than `BRIEF` seconds to live when it came here. It does not travel either."""

    @property
    def is_cached(self) -> bool:
        """Whether it is a copy beside those that its writer asked for."""
        return not self.replication

    @property
    def is_owned(self) -> bool:
        """Whether it is an owner's, or claims to be."""
        return self.value.startswith(MAGIC)

    @property
    def is_authentic(self) -> bool:
        """Whether it is what it claims to be. To be asked where a record comes from outside, before it is
        compared with any other.

        Content has version 0 and no other: copies that differ in anything would be several records to some.
        """
        if not self.is_owned:
            return not self.version or self.kind is not Kind.CONTENT
        try:
            return proven(self).version == self.version
        except Malformed:
            return False

    @property
    def is_tombstone(self) -> bool:
        """Whether its owner has deleted what was under the key."""
        return self.is_owned and decode(self.value).deleted

    @property
    def parties(self) -> tuple[bytes, ...]:
        """The names of those whose shares of a store it counts for."""
        return party_names(self.writer, self.writer_subnet)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the value. Of a large one it costs more than all else that is done with it."""
        return hashlib.sha256(self.value).digest()

    @property
    def kind(self) -> Kind:
        """Seen from key and value alone."""
        return self.rank[0]

    @cached_property
    def rank(self) -> tuple[Kind, int, bytes]:
        """The total order of the records of one key: the greatest is the one all replicas settle on.

        Content has no versions: whatever its writers claim, under one key it is the same.
        """
        digest = self.digest
        if self.is_owned:
            return Kind.OWNER, self.version, digest
        if id_from_bytes(digest) == self.key and not may_name_an_owner(self.value):
            return Kind.CONTENT, 0, digest
        return Kind.OPEN, self.version, digest

    def conflicts_with(self, held: "Record") -> bool:
        """Whether its owner, about to write it, does not know of this one, or should not have written it.

        That is so where its number is not above the one held, or where the one held is newer than what it
        shall replace. It is no conflict that a holder has less than that: it has missed something.
        """
        if not (self.is_owned and held.is_owned) or held.value == self.value:
            return False
        cas = decode(self.value).cas
        return held.version >= self.version or (cas is not None and held.version > cas)

    def remaining_ms(self, now: float) -> int:
        """Milliseconds it still has to live; 0 or less once it has expired."""
        return int((self.expires_at - now) * 1000)


def party_names(writer: int, subnet: bytes) -> tuple[bytes, ...]:
    """The names of a writer, its subnet and, of an IPv6 /48, the /32 of the provider; only what is known of them."""
    names = (id_to_bytes(writer),) if writer else ()
    if not subnet:
        return names
    return (*names, subnet, b"/" + subnet[:4]) if len(subnet) == SITE_BYTES else (*names, subnet)


def claimed_rank(key: int, version: int, owned: bool, digest: bytes) -> tuple[Kind, int, bytes]:
    """The rank of a record that is told of without its value; true if what is told is."""
    if owned:
        return Kind.OWNER, version, digest
    if id_from_bytes(digest) == key:
        return Kind.CONTENT, 0, digest
    return Kind.OPEN, version, digest


def is_possible(key: int, version: int, owned: bool, digest: bytes, length: int) -> bool:
    """Whether a record that is told of without its value can be authentic, as far as that can be seen."""
    if owned or not version or id_from_bytes(digest) != key:
        return True
    # It is content, which has no versions, unless its bytes may name an owner: then it is an open record.
    return length in OWNER_NAMES


def proven(record: Record) -> Record:
    """An owner's record, with the version that the owner gave it.

    Raises `Malformed` unless it was signed by the one who may write this key.
    """
    envelope = decode(record.value)
    if envelope.key != record.key:
        raise Malformed("an envelope under a key that is not its owner's")
    return evolve(record, version=verify(record.value).seq)


def version_at(now: float) -> int:
    """The lowest version of this moment: 48 bits of milliseconds, 16 bits to count within one."""
    return int(now * 1000) << 16
