"""All sessions of a node: which one to send in, and which ones to drop when there are too many."""

from collections.abc import Callable

from attrs import define, field

from dht14.kademlia.contact import Address, Contact
from dht14.session.session import Session

MAX_SESSIONS = 4_096
RESERVED_SESSIONS = MAX_SESSIONS // 2
"""How many sessions only contacts of the routing table compete for."""
EVICTED_AT_ONCE = MAX_SESSIONS // 16
"""To find the least recently used ones costs as much for many as for one."""

REST_AFTER = 60.0
"""Seconds without a packet after which a session releases its ciphers."""

SIMULTANEOUS_WINDOW = 3.0
"""Two handshakes, one from each side, are simultaneous when their sessions are made within these seconds."""


@define(eq=False)
class SessionTable:
    """The sessions, by connection id and by address."""

    _own_id: int
    _is_contact: Callable[[Contact], bool]
    """Whether the routing table has a node at this very address. Without the address a contact could call
    from ever new ports, and take away the sessions of all others."""
    by_cid: dict[bytes, Session] = field(factory=dict, init=False)
    by_address: dict[Address, Session] = field(factory=dict, init=False)
    """The session to send in."""

    def add(self, session: Session, now: float) -> None:
        """Take a new session.

        From now on this node sends in it, unless both sides began a session at the same time: then both send
        in the one whose initiator has the lower id, and take what comes in either.
        """
        address = session.contact.address
        self.by_cid[session.own_cid] = session
        current = self.by_address.get(address)
        if current is not None:
            if current.older is not None:
                self._forget(current.older)
            keeps_current = self._prefers_current(current, session, now)
            first, second = (current, session) if keeps_current else (session, current)
            first.older, second.older = second, None
            session = first
        self.by_address[address] = session
        if len(self.by_cid) > MAX_SESSIONS:
            self._evict()

    def _prefers_current(self, current: Session, new: Session, now: float) -> bool:
        """Return whether to go on sending in the older of two sessions."""
        if current.contact.node_id != new.contact.node_id or current.is_initiator == new.is_initiator:
            return False
        own_is_lower = self._own_id < current.contact.node_id
        return now - current.made_at < SIMULTANEOUS_WINDOW and current.is_initiator == own_is_lower

    def tidy(self, now: float) -> None:
        """Forget the sessions that are over, with their keys; let quiet ones release their ciphers."""
        for session in list(self.by_cid.values()):
            if session.is_over(now):
                self._forget(session)
            elif now - session.used_at >= REST_AFTER:
                session.release_ciphers()

    def _evict(self) -> None:
        """Forget the least recently used sessions, but for those reserved for contacts."""
        latest_first = sorted(self.by_cid.values(), key=lambda session: session.used_at, reverse=True)
        contacts = [session for session in latest_first if self._is_contact(session.contact)]
        reserved = {session.own_cid for session in contacts[:RESERVED_SESSIONS]}
        evictable = [session for session in latest_first if session.own_cid not in reserved]
        for session in evictable[-EVICTED_AT_ONCE:]:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        del self.by_cid[session.own_cid]
        address = session.contact.address
        current = self.by_address.get(address)
        if current is session:
            if session.older is not None:
                self.by_address[address] = session.older
            else:
                del self.by_address[address]
        elif current is not None and current.older is session:
            current.older = None

    def check_invariants(self) -> None:
        """Raise AssertionError where the two views differ; for tests."""
        chained = [
            session
            for first in self.by_address.values()
            for session in (first, first.older)
            if session is not None
        ]
        assert {id(session) for session in chained} == {id(session) for session in self.by_cid.values()}
        assert all(session.own_cid == cid for cid, session in self.by_cid.items())
        assert len(self.by_cid) <= MAX_SESSIONS
