"""Tickets: each permits one transfer over the bulk channel.

A node gives a ticket to one peer inside its session, for one transfer of a known length, and takes it from
the key of that peer only. So nobody can make this node read or send anything that it has not agreed to
before.
"""

import random
from collections import OrderedDict
from typing import Generic, TypeVar

from attrs import define, field, frozen

T = TypeVar("T")

TICKET_BYTES = 16
TICKET_LIFETIME = 30.0
"""Seconds. A transfer begins within a few round trips, or never."""

MAX_TICKETS, MAX_TICKETS_PER_PEER = 4_096, 64
MAX_PROMISED_BYTES = 64 << 20
"""How many bytes all tickets together permit."""


@frozen
class _Permit(Generic[T]):
    transfer: T
    public_key: bytes
    length: int
    until: float


@define(eq=False)
class Tickets(Generic[T]):
    """The valid tickets of one node.

    Every request gets a ticket. When there are too many, the oldest lose their value: first those of the peer
    that asks, and only if it has no other those of all peers. An honest peer uses its ticket at once or not
    at all.
    """

    _rng: random.Random
    promised_bytes: int = field(default=0, init=False)
    """The sum of all transfers that are permitted now."""
    _permits: "OrderedDict[bytes, _Permit[T]]" = field(factory=OrderedDict, init=False)
    """By ticket, the oldest first."""
    _peers: "dict[bytes, OrderedDict[bytes, None]]" = field(factory=dict, init=False)
    """The tickets of each public key, the oldest first."""

    def __len__(self) -> int:
        return len(self._permits)

    def issue(self, public_key: bytes, transfer: T, length: int, now: float) -> bytes:
        """Return a ticket for the peer with this raw public key, for a transfer of `length` bytes."""
        self._expire(now)
        ticket = self._rng.getrandbits(8 * TICKET_BYTES).to_bytes(TICKET_BYTES, "big")
        own = self._peers.setdefault(public_key, OrderedDict())
        own[ticket] = None
        self._permits[ticket] = _Permit(transfer, public_key, length, now + TICKET_LIFETIME)
        self.promised_bytes += length
        if len(own) > MAX_TICKETS_PER_PEER:
            self._drop(next(iter(own)))
        while len(self._permits) > MAX_TICKETS or self.promised_bytes > MAX_PROMISED_BYTES:
            # A peer that asks again and again loses its own tickets, not those of others.
            self._drop(next(iter(own if len(own) > 1 else self._permits)))
        return ticket

    def redeem(self, ticket: bytes, public_key: bytes, now: float) -> T | None:
        """Return the transfer that the ticket permits, once; None when it is not valid for this peer."""
        permit = self._permits.get(ticket)
        if permit is None or permit.public_key != public_key:
            return None
        self._drop(ticket)
        return permit.transfer if permit.until > now else None

    def _expire(self, now: float) -> None:
        while self._permits:
            ticket, permit = next(iter(self._permits.items()))
            if permit.until > now:
                break
            self._drop(ticket)

    def _drop(self, ticket: bytes) -> None:
        permit = self._permits.pop(ticket)
        self.promised_bytes -= permit.length
        own = self._peers[permit.public_key]
        del own[ticket]
        if not own:
            del self._peers[permit.public_key]
