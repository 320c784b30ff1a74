"""The troubles of a database: each is reported once when it begins and once when it is over."""

from attrs import define, field

from dht14.database.limits import Shortfall, refusal_for
from dht14.database.writer_thread import FILE_GONE, DatabaseEvents, Written
from dht14.records.store import Refusal

RECOVERY_TIME = 5.0
"""Seconds without a failed write before the disk counts as healthy; a full disk still accepts some writes."""

HANG_SECONDS = 3.0
"""Seconds that a write may wait for the disk. The call of the writer has failed by then (`HARD_TIMEOUT`), and
no new caller expects an answer in time."""

HANGS = f"a write has been waiting for it for more than {HANG_SECONDS:g} s"
"""The reason of a write that does not end."""

PROBE_TIME = 30.0
"""Seconds without a failed write after which, if nobody writes, a probe finds out whether the disk is
healthy."""

SHARE_REPORT_INTERVAL = 60.0
"""Seconds without a refusal for want of share after which the next one is reported again."""

FREED_PART = 64
"""A full store has space again when this part of the limit, 1/64, is free."""

MAX_DAMAGED = 10_000
"""Damaged records that are counted."""


@define(eq=False)
class DatabaseHealth:
    """The troubles of one database."""

    _events: DatabaseEvents
    _limit: int
    """Bytes that may be in use; a record above them is refused."""
    _failed_at: float | None = field(default=None, init=False)
    """When the disk failed last; None once it has accepted everything for `RECOVERY_TIME`."""
    file_is_gone: bool = field(default=False, init=False)
    """Whether the file was removed or moved: then the database holds nothing, except for readers."""
    _is_full: bool = field(default=False, init=False)
    _refused_by_share: int = field(default=0, init=False)
    """Records refused because their writer, or its subnet, has used up its share."""
    _refused_by_share_at: float = field(default=-SHARE_REPORT_INTERVAL, init=False)
    _damaged: set[bytes] = field(factory=set, init=False)
    """Slots of damaged records, so that each is counted once."""

    def failed(self, reason: str, now: float) -> None:
        """The disk failed."""
        if self._failed_at is None:
            self._events.writing_failed(reason)
        self._failed_at = now
        self.file_is_gone = reason == FILE_GONE

    def wrote(self, written: Written, now: float) -> None:
        """The disk accepted a transaction, perhaps without some records for want of space."""
        if written.refused:
            self.refused(written.usage.size)
        self.size_changed(written.usage.size)
        if self._failed_at is not None and now >= self._failed_at + RECOVERY_TIME:
            self._recovered()

    def is_worth_a_probe(self, now: float) -> bool:
        """Whether it is unknown by now if the disk still fails."""
        return self._failed_at is not None and now >= self._failed_at + PROBE_TIME

    def probed(self, now: float) -> None:
        """The disk accepted a probe."""
        if self.is_worth_a_probe(now):
            self._recovered()

    def _recovered(self) -> None:
        self._failed_at = None
        self._events.writing_resumed()

    def refusal_for(self, shortfall: Shortfall, used: int, now: float) -> Refusal | None:
        """Return why a record with this shortfall is refused; None if it is not. `used` bytes are in use."""
        refusal = refusal_for(shortfall)
        if refusal is Refusal.NO_ROOM:
            self.refused(used)
        elif refusal is Refusal.SHARE:
            self._refused_by_share += 1
            if now >= self._refused_by_share_at + SHARE_REPORT_INTERVAL:
                self._events.share_used_up(self._refused_by_share)
            self._refused_by_share_at = now
        return refusal

    def refused(self, used: int) -> None:
        """A record was refused for want of space."""
        if not self._is_full:
            self._is_full = True
            self._events.store_full(used)

    def size_changed(self, used: int) -> None:
        """`used` bytes are in use now."""
        if used > self._limit:
            self.refused(used)
        elif self._is_full and used <= self._limit - self._limit // FREED_PART:
            self._is_full = False
            self._events.space_available()

    def damaged(self, slot: bytes) -> None:
        """A damaged record was read from a slot."""
        if slot not in self._damaged and len(self._damaged) < MAX_DAMAGED:
            self._damaged.add(slot)
            self._events.record_damaged(len(self._damaged))
