"""The contacts that a node finds again after a restart."""

from twisted.logger import Logger

from dht14.app.data_dir import DataDir
from dht14.app.disk_monitor import DiskMonitor
from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.routing_table import RoutingTable
from dht14.security.identity import VerifyProof


class SavedContacts:
    """The file of contacts in a data directory."""

    log = Logger()

    def __init__(self, data_dir: DataDir, disk: DiskMonitor) -> None:
        self._data_dir = data_dir
        self._disk = disk
        self._saved_change = 0
        """`RoutingTable.changes` when the contacts were saved."""

    def load(self, verify_proof: VerifyProof) -> tuple[Contact, ...]:
        """Return the contacts of the last run; none, with a log line, if their file is damaged."""
        try:
            return self._data_dir.load_contacts(verify_proof)
        except Malformed as error:
            self.log.warn("Ignoring saved contacts: {reason}.", event="contacts.ignored", reason=str(error))
            return ()

    def save(self, table: RoutingTable) -> None:
        """Save the contacts of the table, if it has changed and has any."""
        if table.changes == self._saved_change or not len(table):
            return
        try:
            self._data_dir.save_contacts(table.contacts())
        except OSError as error:
            self._disk.contacts_failed(error)
            return
        self._saved_change = table.changes
        self._disk.contacts_saved()
