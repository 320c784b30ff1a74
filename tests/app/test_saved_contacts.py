from pathlib import Path

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.saved_contacts import SavedContacts
from dht14.kademlia.routing_table import RoutingTable
from tests.fakes import contact, verify_proof


class SavedContactsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.file = Path(self.data_dir.path) / "contacts"
        self.table = RoutingTable(1)
        self.saved = SavedContacts(self.data_dir, DiskMonitor(self.data_dir))

    def test_round_trip(self) -> None:
        """The next run loads what this one has saved."""
        self.assertEqual(self.saved.load(verify_proof), ())
        self.table.confirmed(contact(2), 0.0, 0.1)
        self.saved.save(self.table)
        self.assertEqual(self.saved.load(verify_proof), (contact(2),))

    def test_when_changed(self) -> None:
        """An empty table, and one that has not changed, write nothing."""
        self.saved.save(self.table)
        self.assertFalse(self.file.exists())
        self.table.confirmed(contact(2), 0.0, 0.1)
        self.saved.save(self.table)
        self.file.unlink()
        self.saved.save(self.table)
        self.assertFalse(self.file.exists())
        self.table.confirmed(contact(3), 0.0, 0.1)
        self.saved.save(self.table)
        self.assertTrue(self.file.exists())

    def test_damaged(self) -> None:
        """A damaged file is logged and ignored."""
        self.file.write_bytes(b"damaged")
        with capturedLogs() as events:
            self.assertEqual(self.saved.load(verify_proof), ())
        self.assertEqual([event["event"] for event in events], ["contacts.ignored"])
