"""Kept values: what a node remembers of a value that it renews, and when it renews it.

The list of them outlives the process. Its times are those of the node's own clock, which starts as the time
of day: see `database.entry_format`. An entry that was changed later than now was written by a run whose clock
was ahead; it is due at once.
"""

import hashlib
from collections.abc import Callable
from enum import Enum, IntEnum, IntFlag
from typing import NamedTuple, Protocol

from attrs import evolve, frozen

from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.record import Kind, Record, version_at

RENEW_FROM, RENEW_WITHIN = 0.4, 0.2
"""Shares of the time to live: a value is renewed when 0.4 to 0.6 of it are over."""

REGION_BITS = 8
"""The leading bits that the keys of one region share. Entries of one region and one time to live are renewed
at the same moment, so that they share a lookup."""

RETRY_SHARE = 1 / 20
MIN_RETRY, MAX_RETRY = 5.0, 300.0
"""The pause after a failure: this share of the time to live, within these seconds."""

CLOCK_SLACK = 5.0
"""Seconds. An entry changed later than that from now was written under another clock."""


class KeptState(IntEnum):
    """What the node does with a value of the list."""

    RENEWED = 0
    """It renews the value."""
    REPLACED = 1
    """Nothing: somebody has written another value under the key. The node keeps no copy any more."""
    DELETED = 2
    """Nothing: the owner has deleted the value."""


class KeptBy(IntFlag):
    """What a client named when it wanted a value kept. The value stays on the list until all of that is let
    go."""

    KEY = 1
    """Its own key."""
    FILE = 2
    """Its address: a file begins with it. It is the root of that, or the owner's value that names it."""
    PART = 4
    """A file of which it is a part."""

    @property
    def names(self) -> list[str]:
        """What it names, as in JSON: `key`, `file`, `part`, or several of them."""
        return [str(one.name).lower() for one in KeptBy if one in self]


class RenewalFailure(IntEnum):
    """Why the last renewal of a value failed."""

    NONE = 0
    UNANSWERED = 1
    """The nodes that should know did not answer."""
    TOO_FEW_HOLDERS = 2
    NO_ROOM = 3
    WRITER_SHARE = 4
    OUTRANKED = 5
    """Holders say that they have something newer, and nobody shows it."""
    LAPSED = 6
    """The owner's record has expired before it was renewed. Its holders take it again when they have
    forgotten that, or when the owner signs a greater number."""
    LIST_FULL = 7
    """The owner has written a longer value, for which the list has no room."""
    DAMAGED = 8
    """The value on the disk of this node is damaged."""
    REFUSED = 9
    """Holders think that the value does not match its key or its signature."""


class KeepRefusal(Enum):
    """Why a value is not kept."""

    NOT_READY = "the list of kept values is not open yet, or its disk fails"
    NO_VALUES = "a bootstrap node keeps no values"
    LIST_FULL = "the list of kept values is full: [storage] kept_limit"
    DELETED = "its owner has deleted it"
    NOT_AUTHENTIC = "the value is not what its key or its signature says"
    NO_FILE = "it is not the address of a file"
    NO_VERSION = "an open value can be kept only with the version under which it was put"


@frozen(kw_only=True)
class KeptEntry:
    """One value of the list, without its bytes. Times in seconds, on the clock of this node."""

    key: int
    kind: Kind
    version: int
    digest: bytes
    """SHA-256 of the value."""
    size: int
    """Bytes of the value."""
    ttl: int
    """Seconds that a renewed value lives."""
    replication: int
    """The copies asked for."""
    kept_at: float
    """When it came on the list."""
    renewed_at: float
    """When it was last put or renewed."""
    expires_at: float
    """When it expires at its holders unless it is renewed."""
    due_at: float
    """When its renewal was, or will be, due."""
    try_at: float
    """When that is tried next: later than `due_at` after a failure."""
    changed_at: float
    """When this entry was written."""
    by: KeptBy = KeptBy.KEY
    state: KeptState = KeptState.RENEWED
    failure: RenewalFailure = RenewalFailure.NONE
    failing_since: float = 0.0
    """When the first of the present failures was; 0 if the last renewal succeeded."""

    @classmethod
    def of(
        cls, record: Record, ttl: int, replication: int, now: float, phase: float, *, was_found: bool = False
    ) -> "KeptEntry":
        """Return the entry of a record that has just been put. `phase` as in `renewal_time`.

        One that `was_found` is due at once: when it expires is what some holder has said.
        """
        due_at = now if was_found else max(renewal_time(record.expires_at - ttl, ttl, phase), now)
        return cls(
            key=record.key,
            kind=record.kind,
            version=record.version,
            digest=record.digest,
            size=len(record.value),
            ttl=ttl,
            replication=replication,
            kept_at=now,
            renewed_at=min(record.expires_at - ttl, now),
            expires_at=min(record.expires_at, now + ttl),
            due_at=due_at,
            try_at=due_at,
            changed_at=now,
        )

    def record(self, value: bytes, writer: int) -> Record:
        """Return the record that is renewed, with this value. `writer` is the id of this node."""
        return Record(
            key=self.key,
            value=value,
            version=self.version,
            expires_at=self.expires_at,
            replication=self.replication,
            writer=writer,
        )

    def followed(self, newest: Record) -> "KeptEntry":
        """Return the entry with the content of this record: the same, or what its owner has written since."""
        return evolve(
            self, version=newest.version, kind=newest.kind, digest=newest.digest, size=len(newest.value)
        )

    def renewed(self, expires_at: float, now: float, phase: float) -> "KeptEntry":
        """Return the entry after its holders got the value, until `expires_at`."""
        due_at = max(renewal_time(expires_at - self.ttl, self.ttl, phase), now)
        return evolve(
            self,
            renewed_at=now,
            expires_at=expires_at,
            due_at=due_at,
            try_at=due_at,
            changed_at=now,
            failure=RenewalFailure.NONE,
            failing_since=0.0,
        )

    def put_again(self, record: Record, now: float, phase: float) -> "KeptEntry":
        """Return the entry after a client of this node has put this record in its place."""
        return self.followed(record).renewed(min(record.expires_at, now + self.ttl), now, phase)

    def is_later(self, other: "KeptEntry", now: float) -> bool:
        """Whether this is an open value that was put after the `other`. A version from the future was made by
        a wrong clock and does not count."""
        is_open = self.kind is other.kind is Kind.OPEN and self.state is KeptState.RENEWED
        return is_open and other.version < self.version <= version_at(now + CLOCK_SLACK)

    def due_soon(self, now: float) -> "KeptEntry":
        """Return the entry with a renewal as soon as after a failure."""
        soon = min(self.due_at, now + self._pause)
        return evolve(self, due_at=soon, try_at=soon)

    @property
    def _pause(self) -> float:
        return min(max(self.ttl * RETRY_SHARE, MIN_RETRY), MAX_RETRY)

    def failed(self, failure: RenewalFailure, now: float) -> "KeptEntry":
        """Return the entry after a renewal has failed."""
        return evolve(
            self,
            failure=failure,
            failing_since=self.failing_since or now,
            try_at=now + self._pause,
            due_at=min(self.due_at, now),
            changed_at=now,
        )

    def stopped(self, state: KeptState, now: float) -> "KeptEntry":
        """Return the entry of a value that is renewed no more, of which no bytes are kept."""
        return evolve(
            self, state=state, size=0, failure=RenewalFailure.NONE, failing_since=0.0, changed_at=now
        )

    def summary(self, mark: bytes) -> "KeptSummary":
        """Return what decides when it is renewed."""
        return KeptSummary(
            mark, self.due_at, self.try_at, self.changed_at, self.ttl, self.state, self.failure
        )


class KeptSummary(NamedTuple):
    """What decides when an entry is renewed. A list can read it without opening the entry."""

    mark: bytes
    """The place of the entry in its list."""
    due_at: float
    try_at: float
    changed_at: float
    ttl: int
    state: int
    failure: int

    def urgency(self, now: float) -> float:
        """Return how late the renewal is, in times to live; negative if it is not due.

        So a value that lives a minute does not wait behind values that live a day.
        """
        if self.state != KeptState.RENEWED:
            return -1.0
        if self.changed_at > now + CLOCK_SLACK:
            return 1.0
        return (now - self.try_at) / self.ttl

    def overdue(self, now: float) -> float:
        """Return the seconds since it should have been renewed; 0 if it is not due."""
        if self.state != KeptState.RENEWED or self.changed_at > now + CLOCK_SLACK:
            return 0.0
        return max(now - self.due_at, 0.0)


class KeptUsage(NamedTuple):
    """The size of a list."""

    entries: int
    size: int
    """Bytes on the disk."""


class KeptPage(NamedTuple):
    """Some entries, and the mark after which the next page begins; None: this was the last page."""

    entries: list[KeptEntry]
    mark: bytes | None


OnKept = Callable[[bool], None]
"""Called with whether a change is safe on disk."""


class KeptList(Protocol):
    """The list of a node. What a reader sees has been committed."""

    @property
    def is_open(self) -> bool:
        """Whether it can be read and written now."""

    def usage(self) -> KeptUsage:
        """Return its size."""

    def put(self, entry: KeptEntry, value: bytes | None, done: OnKept) -> None:
        """Write an entry; with None its value stays as it is. A stopped entry loses its value."""

    def remove(self, key: int, done: OnKept) -> None:
        """Remove the entry of a key, if there is one."""

    def get(self, key: int) -> KeptEntry | None:
        """Return the entry of a key."""

    def value(self, entry: KeptEntry) -> bytes | None:
        """Return the value of an entry; None if it is damaged or changed."""

    def summaries(self, mark: bytes, count: int) -> list[KeptSummary]:
        """Return at most `count` summaries after a mark; fewer than that: there are no more."""

    def entry_at(self, mark: bytes) -> KeptEntry | None:
        """Return the entry at a mark; None if it is gone or damaged."""


def page_of(kept: KeptList, mark: bytes, count: int) -> KeptPage:
    """Return at most `count` entries after a mark."""
    summaries = kept.summaries(mark, count)
    entries = [kept.entry_at(summary.mark) for summary in summaries]
    is_last = len(summaries) < count
    return KeptPage([entry for entry in entries if entry], None if is_last else summaries[-1].mark)


def phase_of(key: int, own_id: int) -> float:
    """Return the phase, 0 to 1, of the region of a key: different for each node, the same for a region."""
    region = id_to_bytes(own_id) + bytes([key >> 256 - REGION_BITS])
    return int.from_bytes(hashlib.blake2b(region, digest_size=8).digest(), "big") / 2.0**64


def renewal_time(written_at: float, ttl: float, phase: float) -> float:
    """Return when a value that was written for `ttl` seconds is renewed.

    Of all moments that are `phase` of an interval after a multiple of it, one lies between 0.4 and 0.6 of the
    time to live, where the interval is as long as these 0.2.
    """
    interval = RENEW_WITHIN * ttl
    first = written_at + RENEW_FROM * ttl
    return first + (phase * interval - first) % interval


def explained(failure: int) -> str:
    """Return why renewals fail, for people: "they could not be renewed, because …"."""
    return _EXPLAINED.get(failure, _EXPLAINED[RenewalFailure.DAMAGED])


_EXPLAINED: dict[int, str] = {
    RenewalFailure.UNANSWERED: "the nodes that should know did not answer",
    RenewalFailure.TOO_FEW_HOLDERS: "too few of the nodes that should hold them answered",
    RenewalFailure.NO_ROOM: "their holders are full",
    RenewalFailure.WRITER_SHARE: "their holders accept no more bytes from this node",
    RenewalFailure.OUTRANKED: "holders say that they have something newer, and do not show it",
    RenewalFailure.LAPSED: "they expired, and holders do not take an owner's old number again for a while",
    RenewalFailure.LIST_FULL: "their owners have written more than the list has room for",
    RenewalFailure.DAMAGED: "they are damaged on the disk of this node",
    RenewalFailure.REFUSED: "their holders do not take them for what they say to be",
}
