"""Logs the troubles of a node's disk and files: each once when it begins, and once when it is over.

Other processes see them, too: the file `working` exists in the data directory while there is no trouble. It
shows health by its presence, because a full disk allows a file to be removed, but not to be made.
"""

import errno
import os
from enum import Enum, auto

from attrs import define, field
from twisted.logger import Logger

from dht14.app.data_dir import DataDir

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Trouble(Enum):
    """What keeps a node from doing its work."""

    CLOSED = auto()
    """Its database is not open yet."""
    VALUES = auto()
    """Its database cannot be written, or not even read."""
    DIRECTORY = auto()
    """Its data directory is gone."""
    DESCRIPTORS = auto()
    """It is out of file descriptors: no file can be opened, and no connection accepted."""


@define(eq=False)
class DiskMonitor:
    """The troubles of one node. Also the `DatabaseEvents` of its database."""

    log = Logger()

    _data_dir: DataDir
    _troubles: set[Trouble] = field(factory=lambda: {Trouble.CLOSED}, init=False)
    _contacts_failed: bool = field(default=False, init=False)
    was_set_aside: bool = field(default=False, init=False)
    """Whether this process found the database damaged, missing or of an older format when it started."""

    @property
    def troubles(self) -> frozenset[Trouble]:
        """The troubles of this moment."""
        return frozenset(self._troubles)

    def begin(self) -> None:
        """Show that the node does not work yet, whatever an earlier run has left."""
        self._show()

    def ready(self) -> None:
        """The node is ready to work."""
        self._end(Trouble.CLOSED)

    def inspect(self) -> None:
        """Find out whether the data directory is still there, and whether files can be opened."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                self._descriptors_gone(error)
        else:
            if self._end(Trouble.DESCRIPTORS):
                self.log.info("Files can be opened again.", event="descriptors.available")
        if not self._data_dir.is_in_place():
            self._directory_gone()
        elif self._end(Trouble.DIRECTORY):
            self.log.info(
                "The data directory {path} is back.", event="data_dir.back", path=self._data_dir.path
            )

    def _directory_gone(self) -> None:
        if self._begin(Trouble.DIRECTORY):
            self.log.error(
                "The data directory {path} was removed or replaced. Nothing is stored until it is back; put "
                "it back, or restart the node.",
                event="data_dir.gone",
                path=self._data_dir.path,
            )

    def _descriptors_gone(self, error: OSError) -> None:
        if self._begin(Trouble.DESCRIPTORS):
            self.log.error(
                "No file can be opened and no connection accepted: {reason}. Raise the limit of file "
                "descriptors (ulimit -n, LimitNOFILE).",
                event="descriptors.used_up",
                reason=error.strerror,
            )

    def _begin(self, trouble: Trouble) -> bool:
        """Note a trouble. Return whether it is a new one."""
        if trouble in self._troubles:
            return False
        self._troubles.add(trouble)
        self._show()
        return True

    def _end(self, trouble: Trouble) -> bool:
        if trouble not in self._troubles:
            return False
        self._troubles.remove(trouble)
        self._show()
        return True

    def _show(self) -> None:
        self._data_dir.show_working(not self._troubles)

    # saved contacts

    def contacts_failed(self, error: OSError) -> None:
        """The contacts could not be saved."""
        if not self._data_dir.is_in_place():
            self._directory_gone()
        elif error.errno in NO_DESCRIPTORS:
            self._descriptors_gone(error)
        elif not self._contacts_failed:
            self._contacts_failed = True
            self.log.error(
                "Contacts cannot be saved: {reason}. After a restart the node can find others only through "
                "its seeds.",
                event="contacts.not_saved",
                reason=error.strerror or str(error),
            )

    def contacts_saved(self) -> None:
        """The contacts were saved."""
        if self._contacts_failed:
            self._contacts_failed = False
            self.log.info("Contacts can be saved again.", event="contacts.saved_again")

    # as `DatabaseEvents`

    def opened(self, records: int) -> None:
        """As `DatabaseEvents`."""
        self.ready()
        self.log.info("Database opened; records: {records}.", event="database.opened", records=records)

    def set_aside(self, path: str) -> None:
        """As `DatabaseEvents`."""
        self.was_set_aside = True
        self.log.critical(
            "Database corrupt: moved to {path}, starting with an empty one. Records will be restored from "
            "other replicas.",
            event="database.set_aside",
            path=path,
        )

    def outdated(self, path: str) -> None:
        """An older version wrote the database, in a format that this one does not know."""
        self.was_set_aside = True
        self.log.critical(
            "The database is of an older version and cannot be read: moved to {path}, starting with an empty "
            "one. Records will be restored from other replicas, if they still have them: upgrade one node "
            "after the other, with a pause.",
            event="database.outdated",
            path=path,
        )

    def missing(self, path: str) -> None:
        """There was a database, and its file is missing."""
        self.was_set_aside = True
        self.log.critical(
            "Database {path} is missing, with all records of this node; starting with an empty one. Records "
            "will be restored from other replicas, if they have them. If the file was moved, stop the node "
            "and put it back.",
            event="database.missing",
            path=path,
        )

    def record_damaged(self, total: int) -> None:
        """As `DatabaseEvents`."""
        self.log.error(
            "Ignoring a damaged record; {total} so far.", event="database.record_damaged", total=total
        )

    def writing_failed(self, reason: str) -> None:
        """As `DatabaseEvents`."""
        if not self._data_dir.is_in_place():
            self._directory_gone()
        elif self._begin(Trouble.VALUES):
            self.log.error(
                "The database cannot be written: {reason}. PUTs fail until it can.",
                event="database.not_writable",
                reason=reason,
            )

    def writing_resumed(self) -> None:
        """As `DatabaseEvents`."""
        if self._end(Trouble.VALUES):
            self.log.info("The database can be written again.", event="database.writable")

    def store_full(self, used: int) -> None:
        """As `DatabaseEvents`."""
        self.log.warn(
            "The store is full: {used} bytes are in use, and an eighth of [storage] storage_limit stays "
            "free. New values are refused until others expire; raise storage_limit if the disk has space.",
            event="store.full",
            used=used,
        )

    def space_available(self) -> None:
        """As `DatabaseEvents`."""
        self.log.info("The store has space for new values again.", event="store.space_available")

    def share_used_up(self, total: int) -> None:
        """As `DatabaseEvents`."""
        self.log.warn(
            "A value of another node is refused: that node, or its subnet, has used up its share of this "
            "store ([storage] writer_share). Refused for this since the start: {total}; more are only "
            "counted for a while.",
            event="store.share_used_up",
            total=total,
        )
