"""What a watcher knows of one key: who has promised to tell it of changes, what they said, and when to read.

A notification is a hint and nothing more: what a client is told is what a read finds, with the quorum of
every read. So a holder that lies cannot invent a change, hide one that the others tell of, or bring a client
an old record. It can cost reads. For each hint that a read did not confirm, the node that gave it is not
listened to for a while, twice as long each time: less than one read in a minute, in the end.

A mark that differs from what the last read found counts once: a holder that lags behind, or holds nothing,
causes one read and no more.
"""

from collections.abc import Iterator

from attrs import define, field

from dht14.kademlia.contact import Contact
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
"""Seconds to the next read after one without a result; each further one doubles them."""

FIRST_DISTRUST, LAST_DISTRUST = 1.0, 64.0
"""Seconds for which a node is not listened to after a hint that was none; each further one doubles them."""


@define
class Member:
    """A node that tells this one of changes."""

    contact: Contact
    lease_ends_at: float
    mark: bytes
    """What it said last that it holds."""
    considered: bytes | None = None
    """The mark that it had before a read that found something else."""
    fruitless: int = 0
    """Hints since the last one that a read confirmed."""
    quiet_until: float = 0.0


@define(eq=False)
class WatchState:
    """The watch of one key. `now` is in seconds."""

    key: int
    members: dict[int, Member] = field(factory=dict, init=False)
    """By id."""
    is_known: bool = field(default=False, init=False)
    """Whether a read has had a result."""
    seen: Seen = field(default=None, init=False)
    renew_at: float = field(default=0.0, init=False)
    _expires_at: float | None = field(default=None, init=False)
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
        member = self.members.get(contact.node_id)
        if member is None:
            self.members[contact.node_id] = Member(contact, ends_at, mark)
        else:
            member.contact, member.lease_ends_at, member.mark = contact, ends_at, mark

    def refused(self, node_id: int) -> None:
        """A node gives no lease, or does not answer."""
        self.members.pop(node_id, None)

    def notified(self, node_id: int, mark: bytes) -> bool:
        """A node says that its record has changed. Return whether it was asked to."""
        member = self.members.get(node_id)
        if member is None:
            return False
        member.mark = mark
        return True

    def renewed(self, is_healthy: bool, now: float, jitter: float) -> None:
        """All near nodes were asked for leases; `jitter` is about 1."""
        for node_id, member in list(self.members.items()):
            if member.lease_ends_at <= now:
                del self.members[node_id]
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
        known = (self.seen or NOTHING_HELD) if self.is_known else None
        for member in self.members.values():
            if known is not None and member.mark not in (known, member.considered):
                yield member

    def read_began(self) -> None:
        """A read begins: it covers what was said before."""
        self._heard = {node_id: member.mark for node_id, member in self.members.items()}

    def read_ended(self, found: Found, now: float) -> bool:
        """A read has ended. Return whether it had a result."""
        if found in (NoRecord.UNANSWERED, NoRecord.NOT_READY):
            delay = min(RETRY_INTERVAL * 2.0**self._failures, MAX_RETRY_INTERVAL)
            self._failures = min(self._failures + 1, 16)
            self._earliest_read_at = now + delay
            self._poll_at = min(self._poll_at, self._earliest_read_at)
            return False
        self._failures, self._earliest_read_at = 0, now + READ_SPACING
        seen = seen_in(found)
        was_change = not self.is_known or seen != self.seen
        self.is_known, self.seen = True, seen
        self._expires_at = found.expires_at if isinstance(found, Record) else None
        self._poll_interval = (
            min(2 * self._poll_interval, MAX_POLL_INTERVAL) if self._is_healthy else POLL_INTERVAL
        )
        self._poll_at = now + self._poll_interval
        self._judge_hints(seen or NOTHING_HELD, was_change, now)
        return True

    def _judge_hints(self, mark: bytes, was_change: bool, now: float) -> None:
        for node_id, heard in self._heard.items():
            member = self.members.get(node_id)
            if member is None:
                continue
            if heard == mark:
                member.fruitless, member.quiet_until, member.considered = 0, 0.0, None
            elif heard != member.considered:
                member.considered = heard
                if not was_change:
                    delay = min(FIRST_DISTRUST * 2.0**member.fruitless, LAST_DISTRUST)
                    member.fruitless = min(member.fruitless + 1, 16)
                    member.quiet_until = now + delay
        self._heard = {}


def seen_in(found: Found) -> Seen:
    """Return what distinguishes one result of a read from another. A deleted record is one that is gone."""
    return mark_of(found.version, found.digest) if isinstance(found, Record) else None
