"""What a watcher knows of one key: who has promised to tell it of changes, what they said, and when to read.

A notification is a hint and nothing more: what a client is told is what a read finds, with the quorum of
every read. So a holder that lies cannot invent a change, hide one that the others tell of, or bring a client
an old record. It can cost reads. For each hint that a read did not confirm, the node that gave it is not
listened to for a while, twice as long each time: less than one read in a minute, in the end. It is forgiven
once for each change, when it says what the change has brought. To tell the truth between two lies, or to give
no lease for a while, forgives nothing.

A mark that differs from what the last read found counts once: a holder that lags behind, or holds nothing,
causes one read and no more. It counts again when its holder has said something else meanwhile.
"""

from collections.abc import Iterator

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Contact
from dht14.records.read_quorum import Rank
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.messages import NOTHING_HELD, mark_of

Found = Record | NoRecord
"""What a read brings."""

Seen = bytes | None
"""The mark of the record that was found; None where there was none."""

RENEW_INTERVAL = 20.0
"""Seconds between two renewals of the leases. Each brings the marks of all who have given one, so a lost
notification is noticed by then."""

UNHEALTHY_RENEW_INTERVAL = 10.0
"""The same where too few have given a lease."""

POLL_INTERVAL, MAX_POLL_INTERVAL = 10.0, 320.0
"""Seconds until a key is read again without a hint. Each read with enough leases doubles them."""

READ_SPACING = 0.05
"""Seconds from the end of a read to the beginning of the next one of the same key."""

RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.5, 30.0
"""Seconds to the next read after one without a result; each further one doubles them. So it is after a read
that was due because the record should have expired and found that it had not."""

STEP_BACK_TIME = 6.0
"""Seconds for which reads may find less than what was read before without being believed. While a put is
under way, 4.5 s at most, one read finds its record and the next one the record before it."""

FIRST_DISTRUST, LAST_DISTRUST = 1.0, 64.0
"""Seconds for which a node is not listened to after a hint that was none; each further one doubles them."""

MAX_LEFT = 32
"""Nodes that give no lease any more of which it is remembered how far they are trusted."""


@define
class Member:
    """A node that tells this one of changes."""

    contact: Contact
    lease_ends_at: float
    mark: bytes
    """What it said last that it holds."""
    considered: bytes | None = None
    """The mark that it had before a read that found something else."""
    forgiven: bytes | None = None
    """The change for which it was forgiven last: the mark that this change has brought."""
    fruitless: int = 0
    """Hints that no read confirmed, since it was forgiven."""
    quiet_until: float = 0.0

    def says(self, mark: bytes) -> None:
        """It holds the record of this mark now."""
        if mark != self.mark:
            self.mark, self.considered = mark, None

    def forgive(self, known: bytes) -> None:
        """A change has brought the mark `known`; if the node says so too, it is listened to again."""
        if self.mark == known != self.forgiven:
            self.forgiven, self.fruitless, self.quiet_until = known, 0, 0.0


@define(eq=False)
class WatchState:
    """The watch of one key. `now` is in seconds."""

    key: int
    members: dict[int, Member] = field(factory=dict, init=False)
    """By id."""
    _left: BoundedDict[int, Member] = field(factory=lambda: BoundedDict(MAX_LEFT), init=False)
    """Those that have left with hints that no read confirmed. They do not come back as better ones."""
    is_known: bool = field(default=False, init=False)
    """Whether a read has had a result."""
    seen: Seen = field(default=None, init=False)
    _rank: Rank | None = field(default=None, init=False)
    """Of the record that was seen, or was seen before its owner deleted it."""
    _is_deleted: bool = field(default=False, init=False)
    _older_since: float | None = field(default=None, init=False)
    """When a read first found an older one than that, and no read anything else since."""
    renew_at: float = field(default=0.0, init=False)
    _expires_at: float | None = field(default=None, init=False)
    _vain_ends: int = field(default=0, init=False)
    """Reads since the last change that found the record where it should have expired."""
    _is_healthy: bool = field(default=False, init=False)
    _poll_at: float = field(default=0.0, init=False)
    _poll_interval: float = field(default=POLL_INTERVAL, init=False)
    _earliest_read_at: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _heard: dict[int, bytes] = field(factory=dict, init=False)
    """The marks of all members when the read under way began."""

    # What others say

    def granted(self, contact: Contact, mark: bytes, ends_at: float) -> None:
        """A node has given a lease, and said what it holds."""
        node_id = contact.node_id
        member = self.members.get(node_id) or self._left.pop(node_id, None) or Member(contact, ends_at, mark)
        self.members[node_id] = member
        member.contact, member.lease_ends_at = contact, ends_at
        self._said(member, mark)

    def refused(self, node_id: int) -> None:
        """A node gives no lease, or does not answer."""
        member = self.members.pop(node_id, None)
        if member is not None and member.fruitless:
            self._left[node_id] = member

    def notified(self, node_id: int, mark: bytes) -> bool:
        """A node says that its record has changed. Return whether it was asked to."""
        member = self.members.get(node_id)
        if member is None:
            return False
        self._said(member, mark)
        return True

    def _said(self, member: Member, mark: bytes) -> None:
        member.says(mark)
        if self.is_known:
            member.forgive(self._known)

    @property
    def _known(self) -> bytes:
        return self.seen or NOTHING_HELD

    def renewed(self, is_healthy: bool, now: float, jitter: float) -> None:
        """All near nodes were asked for leases; `jitter` is about 1."""
        for node_id, member in list(self.members.items()):
            if member.lease_ends_at <= now:
                self.refused(node_id)
        if not is_healthy:
            self._poll_interval = POLL_INTERVAL
            self._poll_at = min(self._poll_at, now + POLL_INTERVAL)
        self._is_healthy = is_healthy
        self.renew_at = now + jitter * (RENEW_INTERVAL if is_healthy else UNHEALTHY_RENEW_INTERVAL)

    # Reads

    def read_at(self) -> float:
        """Return when the key must be read next."""
        times = [self._poll_at, *(member.quiet_until for member in self._hinting())]
        if self._expires_at is not None:
            times.append(self._expires_at)
        return max(min(times), self._earliest_read_at)

    def has_hint(self, now: float) -> bool:
        """Whether a node that is listened to holds something else than the last read found."""
        return any(member.quiet_until <= now for member in self._hinting())

    def _hinting(self) -> Iterator[Member]:
        for member in self.members.values():
            if self.is_known and member.mark not in (self._known, member.considered):
                yield member

    def read_began(self) -> None:
        """A read begins: it covers what was said before."""
        self._heard = {node_id: member.mark for node_id, member in self.members.items()}

    def read_ended(self, found: Found, now: float) -> bool:
        """A read has ended. Return whether it had a result: one that is to be told."""
        if found in (NoRecord.UNANSWERED, NoRecord.NOT_READY) or self._is_step_back(found, now):
            delay = min(RETRY_INTERVAL * 2.0**self._failures, MAX_RETRY_INTERVAL)
            self._failures = min(self._failures + 1, 16)
            self._earliest_read_at = now + delay
            self._poll_at = min(self._poll_at, self._earliest_read_at)
            return False
        self._failures, self._earliest_read_at = 0, now + READ_SPACING
        seen = seen_in(found)
        was_change, before = not self.is_known or seen != self.seen, self._known
        self.is_known, self.seen = True, seen
        self._is_deleted = found is NoRecord.DELETED
        if not self._is_deleted:
            self._rank = found.rank if isinstance(found, Record) else None
        self._expires_at = self._end_of(found, was_change, now)
        self._poll_interval = (
            min(2 * self._poll_interval, MAX_POLL_INTERVAL) if self._is_healthy else POLL_INTERVAL
        )
        self._poll_at = now + self._poll_interval
        if seen is None and was_change:
            self._ended(before)
        self._judge_hints(was_change, now)
        return True

    def _is_step_back(self, found: Found, now: float) -> bool:
        """Whether a read found an older record than the one before, which has not expired, and reads have not
        said so for long enough."""
        if not isinstance(found, Record) or not self._is_older(found.rank, now):
            self._older_since = None
            return False
        if self._older_since is None:
            self._older_since = now
        return now < self._older_since + STEP_BACK_TIME

    def _is_older(self, rank: Rank, now: float) -> bool:
        if self._rank is None:
            return False
        if self._is_deleted:
            return rank <= self._rank
        return rank < self._rank and self._expires_at is not None and self._expires_at > now

    def _end_of(self, found: Found, was_change: bool, now: float) -> float | None:
        """Return when the record must be looked for because it has expired. Who answers a read may name any
        time, again and again."""
        if was_change:
            self._vain_ends = 0
        elif self._expires_at is not None and self._expires_at <= now:
            self._vain_ends = min(self._vain_ends + 1, 16)
        if not isinstance(found, Record):
            return None
        delay = min(RETRY_INTERVAL * 2.0**self._vain_ends, MAX_RETRY_INTERVAL) if self._vain_ends else 0.0
        return max(found.expires_at, now + delay)

    def _ended(self, mark: bytes) -> None:
        """The record of this mark is gone. No node tells that a record expires: who says from now on that it
        holds it has got it again."""
        for member in self.members.values():
            if member.mark == mark:
                member.says(NOTHING_HELD)

    def _judge_hints(self, was_change: bool, now: float) -> None:
        for node_id, heard in self._heard.items():
            member = self.members.get(node_id)
            if member is None or heard in (self._known, member.considered):
                continue
            if heard == member.mark:
                member.considered = heard
            if not was_change:
                delay = min(FIRST_DISTRUST * 2.0**member.fruitless, LAST_DISTRUST)
                member.fruitless = min(member.fruitless + 1, 16)
                member.quiet_until = now + delay
        self._heard = {}
        if was_change:
            for member in self.members.values():
                member.forgive(self._known)


def seen_in(found: Found) -> Seen:
    """Return what distinguishes one result of a read from another. A deleted record is one that is gone."""
    return mark_of(found.version, found.digest) if isinstance(found, Record) else None
