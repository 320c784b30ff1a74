"""All sessions of a node: which are where, and which go when there are too many."""

from collections.abc import Callable

from attrs import define, field

from dht14.kademlia.contact import Address, Contact
from dht14.session.session import Session

MOST = 4_096
"""Sessions kept."""
RESERVED = MOST // 2
"""Of these, how many nobody but contacts of the routing table can take away from one another."""
AT_ONCE = MOST // 16
"""How many go at a time: to find the least recently used costs as much for many as for one."""

QUIET = 60.0
"""Seconds without a packet after which a session rests."""

SIMULTANEOUS = 3.0
"""Seconds within which two handshakes, one from either side, were under way together."""


@define(eq=False)
class SessionTable:
    """The sessions, by connection id and by address."""

    _own_id: int
    _is_contact: Callable[[Contact], bool]
    """Whether a node is in the routing table, at this very address: a contact could else call from ever other
    ports, and take away the sessions of all the others."""
    by_cid: dict[bytes, Session] = field(factory=dict, init=False)
    at: dict[Address, Session] = field(factory=dict, init=False)
    """The session to send on."""

    def add(self, link: Session, now: float) -> None:
        """A session was made. It is sent on from now on, unless the two sides began one each at the same
        time: then both send on the one whose initiator has the lower id, and take what comes in either."""
        address = link.contact.address
        self.by_cid[link.own_cid] = link
        current = self.at.get(address)
        if current is not None:
            if current.older is not None:
                self._forget(current.older)
            first, second = (current, link) if self._goes_on(current, link, now) else (link, current)
            first.older, second.older = second, None
            link = first
        self.at[address] = link
        if len(self.by_cid) > MOST:
            self._forget_least_used()

    def _goes_on(self, current: Session, new: Session, now: float) -> bool:
        """Whether to send on the older of two sessions."""
        if current.contact.node_id != new.contact.node_id or current.is_initiator == new.is_initiator:
            return False
        own_is_lower = self._own_id < current.contact.node_id
        return now - current.made_at < SIMULTANEOUS and current.is_initiator == own_is_lower

    def tidy(self, now: float) -> None:
        """Forget the sessions that are over, and their keys; let those rest that are quiet."""
        for link in list(self.by_cid.values()):
            if link.is_over(now):
                self._forget(link)
            elif now - link.used_at >= QUIET:
                link.rest()

    def _forget_least_used(self) -> None:
        latest_first = sorted(self.by_cid.values(), key=lambda link: link.used_at, reverse=True)
        kept = [link for link in latest_first if self._is_contact(link.contact)][:RESERVED]
        reserved = {link.own_cid for link in kept}
        free = [link for link in latest_first if link.own_cid not in reserved]
        for link in free[-AT_ONCE:]:
            self._forget(link)

    def _forget(self, link: Session) -> None:
        del self.by_cid[link.own_cid]
        address = link.contact.address
        current = self.at.get(address)
        if current is link:
            if link.older is not None:
                self.at[address] = link.older
            else:
                del self.at[address]
        elif current is not None and current.older is link:
            current.older = None

    def check_invariants(self) -> None:
        """AssertionError where the two views differ; for tests."""
        chained = [link for first in self.at.values() for link in (first, first.older) if link is not None]
        assert {id(link) for link in chained} == {id(link) for link in self.by_cid.values()}
        assert all(link.own_cid == cid for cid, link in self.by_cid.items())
        assert len(self.by_cid) <= MOST
