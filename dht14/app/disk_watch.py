"""What an operator is told of a node's disk and files: each trouble once when it begins, and once when it is over.

Whether there is one can be seen from outside too: the file `working` is in the data directory while there is none.
A full disk lets a file be removed when it lets none be made.
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
    """Its values are not open yet."""
    VALUES = auto()
    """Its values cannot be written, or not even read."""
    DIRECTORY = auto()
    """Its data directory is gone."""
    DESCRIPTORS = auto()
    """No file can be opened, and no connection be accepted."""


@define(eq=False)
class DiskWatch:
    """The troubles of one node. Also what its database tells: a `DatabaseEvents`."""

    log = Logger()

    _data_dir: DataDir
    _troubles: set[Trouble] = field(factory=lambda: {Trouble.CLOSED}, init=False)
    _contacts_failed: bool = field(default=False, init=False)

    def begin(self) -> None:
        """What an earlier run left behind says nothing."""
        self._show()

    def ready(self) -> None:
        """The node has all that it needs."""
        self._end(Trouble.CLOSED)

    def look(self) -> None:
        """See whether the data directory is still there, and whether files can be opened."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as wrong:
            if wrong.errno in NO_DESCRIPTORS:
                self._descriptors_gone(wrong)
        else:
            if self._end(Trouble.DESCRIPTORS):
                self.log.info("Files can be opened again.")
        if not self._data_dir.is_there():
            self._directory_gone()
        elif self._end(Trouble.DIRECTORY):
            self.log.info("The data directory {path} is in its place again.", path=self._data_dir.path)

    def _directory_gone(self) -> None:
        if self._begin(Trouble.DIRECTORY):
            self.log.error(
                "The data directory {path} is gone, or another one is in its place. Nothing is kept before it is "
                "back, or the node is started again.",
                path=self._data_dir.path,
            )

    def _descriptors_gone(self, wrong: OSError) -> None:
        if self._begin(Trouble.DESCRIPTORS):
            self.log.error(
                "No file can be opened, and no connection be accepted: {reason}. Let the node have more file "
                "descriptors (ulimit -n, LimitNOFILE).",
                reason=wrong.strerror,
            )

    def _begin(self, trouble: Trouble) -> bool:
        """Whether this is news."""
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

    def contacts_failed(self, wrong: OSError) -> None:
        """The contacts could not be saved."""
        if not self._data_dir.is_there():
            self._directory_gone()
        elif wrong.errno in NO_DESCRIPTORS:
            self._descriptors_gone(wrong)
        elif not self._contacts_failed:
            self._contacts_failed = True
            self.log.error(
                "The contacts cannot be saved: {reason}. A node that is started now finds others by its seeds alone.",
                reason=wrong.strerror or str(wrong),
            )

    def contacts_saved(self) -> None:
        """They have been saved."""
        if self._contacts_failed:
            self._contacts_failed = False
            self.log.info("The contacts can be saved again.")

    # values: as `DatabaseEvents`

    def opened(self, records: int) -> None:
        """As `DatabaseEvents`."""
        self.ready()
        self.log.info("The values are open: {records} of them.", records=records)

    def set_aside(self, path: str) -> None:
        """As `DatabaseEvents`."""
        self.log.critical(
            "The values were damaged. They are at {path} now, and the node begins anew: what was in them comes "
            "back from other holders.",
            path=path,
        )

    def missing(self, path: str) -> None:
        """There was a database, and its file is gone."""
        self.log.critical(
            "The database {path} is gone, and all that this node held with it. It begins anew: what was in it comes "
            "back from other holders, if they have it. Where the file was moved, stop the node and put it back.",
            path=path,
        )

    def record_damaged(self, total: int) -> None:
        """As `DatabaseEvents`."""
        self.log.error("A damaged record is not used. {total} so far.", total=total)

    def writing_failed(self, reason: str) -> None:
        """As `DatabaseEvents`."""
        if not self._data_dir.is_there():
            self._directory_gone()
        elif self._begin(Trouble.VALUES):
            self.log.error("Values cannot be written: {reason}. PUTs fail until they can.", reason=reason)

    def writing_resumed(self) -> None:
        """As `DatabaseEvents`."""
        if self._end(Trouble.VALUES):
            self.log.info("Values can be written again.")

    def store_full(self, used: int) -> None:
        """As `DatabaseEvents`."""
        self.log.warn(
            "The store is full: {used} bytes are in use, and an eighth of [storage] storage_limit stays free. New "
            "values are refused until others expire; raise storage_limit where the disk has room.",
            used=used,
        )

    def space_available(self) -> None:
        """As `DatabaseEvents`."""
        self.log.info("The store has room for new values again.")

    def share_used_up(self, total: int) -> None:
        """As `DatabaseEvents`."""
        self.log.warn(
            "A value of another node is refused: that node, or its subnet, has as much of this store as it may. "
            "{total} were refused so since the start; more are only counted for a while.",
            total=total,
        )
