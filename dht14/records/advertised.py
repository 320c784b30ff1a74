"""Metadata of a record that a peer advertises, and the check of a fetched value against it."""

from functools import cached_property

from attrs import frozen

from dht14.records.record import Kind, Record, advertised_rank, is_possible


@frozen(kw_only=True)
class AdvertisedRecord:
    """A record that a node says it holds, without the value. Nothing of it is proven."""

    key: int
    version: int
    expires_at: float
    """As in `Record`."""
    replication: int
    owned: bool
    """Whether it is an owner's record."""
    length: int
    digest: bytes
    """SHA-256 of the value."""

    @cached_property
    def rank(self) -> tuple[Kind, int, bytes]:
        """As `Record.rank`, if what the node says is true."""
        return advertised_rank(self.key, self.version, self.owned, self.digest)

    @property
    def is_possible(self) -> bool:
        """Whether a record like this can exist."""
        return is_possible(self.key, self.version, self.owned, self.digest, self.length)

    def with_value(self, value: bytes) -> Record | None:
        """Return the record with this value; None if it is not the advertised record, or is not authentic."""
        record = Record(
            key=self.key,
            value=value,
            version=self.version,
            expires_at=self.expires_at,
            replication=self.replication,
        )
        if len(value) != self.length or record.rank != self.rank:
            return None
        return record if record.is_authentic else None
