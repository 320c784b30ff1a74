"""Paces the requests to each address: a node drops requests over its limit, and the caller takes it for
dead."""

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Address

SENDING_SHARE = 0.8
"""The share of the peers' rate limit that this node uses for first sends; the rest is for resends."""

MAX_WAIT = 1.5
"""Seconds that a request may wait. The remaining lifetime in it must still be true when it is sent."""

MAX_ADDRESSES = 8192
"""Addresses remembered; the oldest is forgotten first."""


@define
class Pacing:
    """The times of the next requests to each address. Peers are assumed to have the same limit as this
    node."""

    _rate: float
    """Requests per second that a peer answers; 0: no limit."""
    _burst: float
    """Requests that a peer answers at once."""
    _next_at: BoundedDict[Address, float] = field(factory=lambda: BoundedDict(MAX_ADDRESSES), init=False)
    """When the last request would have been sent, had all been sent evenly."""

    def reserve(self, address: Address, now: float) -> float | None:
        """Reserve the time of one request; return the seconds until then. None: it is too far away, and the
        request must not be sent."""
        if not self._rate:
            return 0.0
        interval = 1 / (SENDING_SHARE * self._rate)
        earliest = now - interval * max(SENDING_SHARE * self._burst, 1.0)
        at = max(self._next_at.get(address, earliest), earliest) + interval
        if at > now + MAX_WAIT:
            return None
        self._next_at[address] = at
        return max(at - now, 0.0)
