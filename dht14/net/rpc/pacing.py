"""Paces what other nodes are asked: what is above their limit they drop, and the caller takes them for dead."""

from attrs import define, field

from dht14.kademlia.contact import Address

SENDING_SHARE = 0.8
"""Of the requests that a node would answer itself, it sends so many to another: the rest is for what it sends twice."""

MAX_WAIT = 1.5
"""Seconds for which a request may wait. What it says of the life of a value must still be true when it is sent."""

MAX_ADDRESSES = 8192
"""Addresses remembered; the one first heard of is forgotten first."""


@define
class Pacing:
    """When the next request may go to each address. Others are taken to have the limit that this node has."""

    _rate: float
    """Requests per second that another node is answered; 0: no limit."""
    _burst: float
    """Of them, so many may come at once."""
    _next_at: dict[Address, float] = field(factory=dict, init=False)
    """When the last request there would have been sent, had all been sent evenly."""

    def reserve(self, address: Address, now: float) -> float | None:
        """Seconds until one more request may go there, which counts as sent then; None if that is too long, and
        it must not be sent."""
        if not self._rate:
            return 0.0
        interval = 1 / (SENDING_SHARE * self._rate)
        earliest = now - interval * max(SENDING_SHARE * self._burst, 1.0)
        due = max(self._next_at.get(address, earliest), earliest) + interval
        if due > now + MAX_WAIT:
            return None
        if address not in self._next_at and len(self._next_at) >= MAX_ADDRESSES:
            del self._next_at[next(iter(self._next_at))]
        self._next_at[address] = due
        return max(due - now, 0.0)
