"""What a database knows of its disk and of its room: each bout is told once when it begins, and once when it is over."""

from attrs import define, field

from dht14.database.limits import Shortfall, refusal_for
from dht14.database.writer_thread import GONE, DatabaseEvents, Written
from dht14.records.store import Refusal

CALM = 5.0
"""Seconds without a refusal of the disk after which it counts as well: a full one takes this and that."""

PROBE_CALM = 30.0
"""Seconds without a refusal after which, where nobody writes, a probe tells whether it is well."""

SHARE_BOUT = 60.0
"""Seconds without a refusal to those who have had their share after which the next one is told again."""

ROOM_AGAIN = 64
"""The part of the limit, 1/64, that must be free again before a full store counts as one with room."""


MAX_DAMAGED = 10_000
"""Damaged records that are told apart."""


@define(eq=False)
class DiskState:
    """The bouts of one database."""

    _watcher: DatabaseEvents
    _limit: int
    """Bytes that may be in use: what passes them is refused."""
    _failed_at: float | None = field(default=None, init=False)
    """When the disk refused last; None once it has taken everything for a while."""
    is_gone: bool = field(default=False, init=False)
    """Whether the file is not in its place: nothing in it is held for anybody but readers."""
    _is_full: bool = field(default=False, init=False)
    _beyond_share: int = field(default=0, init=False)
    """How many records were refused because their writer, or its subnet, has had its share."""
    _beyond_share_at: float = field(default=-SHARE_BOUT, init=False)
    _damaged: set[bytes] = field(factory=set, init=False)
    """Places of the damaged records that were met, so that each counts once."""

    def failed(self, reason: str, now: float) -> None:
        """The disk has refused."""
        if self._failed_at is None:
            self._watcher.writing_failed(reason)
        self._failed_at = now
        self.is_gone = reason == GONE

    def wrote(self, written: Written, now: float) -> None:
        """It has taken a transaction, but for records for which there was no room."""
        if written.refused:
            self.refused(written.usage.size)
        self.uses(written.usage.size)
        if self._failed_at is not None and now >= self._failed_at + CALM:
            self._recovered()

    def is_worth_a_probe(self, now: float) -> bool:
        """Whether nobody knows by now if the disk still refuses."""
        return self._failed_at is not None and now >= self._failed_at + PROBE_CALM

    def probed(self, now: float) -> None:
        """A probe was taken."""
        if self.is_worth_a_probe(now):
            self._recovered()

    def _recovered(self) -> None:
        self._failed_at = None
        self._watcher.writing_resumed()

    def refusal_for(self, shortfall: Shortfall, used: int, now: float) -> Refusal | None:
        """Why a record is refused for which so much is lacking, `used` bytes being in use; None where nothing is."""
        refusal = refusal_for(shortfall)
        if refusal is Refusal.NO_ROOM:
            self.refused(used)
        elif refusal is Refusal.SHARE:
            self._beyond_share += 1
            if now >= self._beyond_share_at + SHARE_BOUT:
                self._watcher.share_used_up(self._beyond_share)
            self._beyond_share_at = now
        return refusal

    def refused(self, used: int) -> None:
        """A record was refused because there is no room for it."""
        if not self._is_full:
            self._is_full = True
            self._watcher.store_full(used)

    def uses(self, used: int) -> None:
        """So many bytes are in use now."""
        if used > self._limit:
            self.refused(used)
        elif self._is_full and used <= self._limit - self._limit // ROOM_AGAIN:
            self._is_full = False
            self._watcher.room_again()

    def damaged(self, place: bytes) -> None:
        """A damaged record was met at a place."""
        if place not in self._damaged and len(self._damaged) < MAX_DAMAGED:
            self._damaged.add(place)
            self._watcher.record_damaged(len(self._damaged))
