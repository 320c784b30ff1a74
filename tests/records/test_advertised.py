from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Kind, Record, version_at
from tests.owners import Owner

NOW = 1_700_000_000.0
VALUE = bytes(2_000)
RECORD = Record(key=3, value=VALUE, version=version_at(NOW), expires_at=NOW + 60, replication=8)


def claim_of(record: Record) -> AdvertisedRecord:
    return AdvertisedRecord(
        key=record.key,
        version=record.version,
        expires_at=record.expires_at,
        replication=record.replication,
        owned=record.is_owned,
        length=len(record.value),
        digest=record.digest,
    )


class ClaimTests(SynchronousTestCase):
    def test_true(self) -> None:
        """An advertised record has the rank of its record, and with the value is equal to it, for every
        kind."""
        content = evolve(RECORD, key=hash_id(VALUE), version=0)
        owned = Owner().record(VALUE, 7, NOW + 60)
        for record, kind in ((RECORD, Kind.OPEN), (content, Kind.CONTENT), (owned, Kind.OWNER)):
            claim = claim_of(record)
            self.assertEqual((claim.rank, claim.rank[0]), (record.rank, kind))
            self.assertEqual(claim.with_value(record.value), record)

    def test_other_value(self) -> None:
        """Another value gives no record, even if it has the same length."""
        claim = claim_of(RECORD)
        self.assertIsNone(claim.with_value(VALUE + b"\0"))
        self.assertIsNone(claim.with_value(VALUE[1:] + b"\1"))
        self.assertIsNone(evolve(claim, length=1_999).with_value(VALUE))

    def test_other_kind(self) -> None:
        """A record that is no owner's is not accepted as one, nor the reverse."""
        self.assertIsNone(evolve(claim_of(RECORD), owned=True).with_value(VALUE))
        owned = Owner().record(VALUE, 7, NOW + 60)
        self.assertIsNone(evolve(claim_of(owned), owned=False).with_value(owned.value))

    def test_forged(self) -> None:
        """A sequence number that the owner did not sign gives no record."""
        owned = Owner().record(VALUE, 7, NOW + 60)
        self.assertIsNone(evolve(claim_of(owned), version=8).with_value(owned.value))

    def test_versioned_content(self) -> None:
        """Content with a version other than 0 is impossible, with its value or without; a value that may
        hash to an owner's key has a version like any open one."""
        content = evolve(RECORD, key=hash_id(VALUE), version=0)
        self.assertTrue(claim_of(content).is_possible)
        versioned = claim_of(evolve(content, version=1))
        self.assertFalse(versioned.is_possible)
        self.assertIsNone(versioned.with_value(VALUE))
        name = b"dht14/own" + bytes(32)
        self.assertTrue(claim_of(evolve(RECORD, key=hash_id(name), value=name)).is_possible)
        self.assertTrue(claim_of(RECORD).is_possible)
