"""A record that is told of without its value: what it is worth, and whether a value is the one meant."""

from functools import cached_property

from attrs import frozen

from dht14.records.record import Kind, Record, claimed_rank, is_possible


@frozen(kw_only=True)
class AdvertisedRecord:
    """Somebody says that it holds this record. Nothing of it is proven."""

    key: int
    version: int
    expires_at: float
    """As in `Record`."""
    replication: int
    owned: bool
    """Whether it is an owner's."""
    length: int
    digest: bytes
    """SHA-256 of the value."""

    @cached_property
    def rank(self) -> tuple[Kind, int, bytes]:
        """As `Record.rank`, if it is true."""
        return claimed_rank(self.key, self.version, self.owned, self.digest)

    @property
    def is_possible(self) -> bool:
        """Whether there can be such a record."""
        return is_possible(self.key, self.version, self.owned, self.digest, self.length)

    def fulfilled(self, value: bytes) -> Record | None:
        """The record with this value; None when it is not the one that was told of, or not what it claims."""
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
