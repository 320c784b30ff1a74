"""Tests of the records that are decrypted once."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.database.opened_records import MAX_REMEMBERED, MAX_REMEMBERED_ENTRY, OpenedRecords
from dht14.records.record import Record


def _record(key: int, value: bytes = b"value") -> Record:
    return Record(key=key, value=value, version=1, expires_at=100.0, replication=8)


class OpenedRecordsTests(SynchronousTestCase):
    """A record is found only while its entry is the one in the file."""

    def setUp(self) -> None:
        self.opened = OpenedRecords()
        self.record = _record(5)
        self.opened.add(b"slot", b"entry", self.record)

    def test_found(self) -> None:
        """The record of the same entry is the same object, and its slot is known."""
        self.assertIs(self.opened.find(5, b"entry"), self.record)
        self.assertEqual(self.opened.slot(5), b"slot")

    def test_unknown(self) -> None:
        """Nothing is known of another key."""
        self.assertIsNone(self.opened.find(6, b"entry"))
        self.assertIsNone(self.opened.slot(6))

    def test_changed(self) -> None:
        """An entry that differs in one bit is another one."""
        self.assertIsNone(self.opened.find(5, b"entrz"))

    def test_large(self) -> None:
        """A large entry is not remembered."""
        self.opened.add(b"slot 6", bytes(MAX_REMEMBERED_ENTRY + 1), _record(6))
        self.assertIsNone(self.opened.slot(6))

    def test_full(self) -> None:
        """There are never more than MAX_REMEMBERED: a new one empties a full cache."""
        for key in range(6, 5 + MAX_REMEMBERED):
            self.opened.add(b"slot", b"entry", _record(key))
        self.assertIs(self.opened.find(5, b"entry"), self.record)
        self.opened.add(b"slot", b"entry", _record(1))
        self.assertIsNone(self.opened.find(5, b"entry"))
        self.assertIsNotNone(self.opened.find(1, b"entry"))
