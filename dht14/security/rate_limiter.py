"""Token buckets, which limit what each source may ask for. `now` is in seconds."""

from collections.abc import Hashable
from typing import Protocol

from dht14.bounded import BoundedDict
from dht14.security.subnets import host_of, is_private

MIN_WAIT = 1e-6
"""Seconds. Where a rounding error is missing, `now` plus the exact wait is `now`: a loop would never end."""


class Bucket(Protocol):
    """Allows or refuses one more action of a source."""

    def take(self, now: float) -> bool:
        """Take a token and return True, or return False when there is none."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate` tokens a second; with rate 0 there is no limit."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        # With a smaller bucket there would never be a whole token.
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token and return True, or return False when there is none."""
        if now != self._at:
            self._refill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        return not self._rate

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until there are `tokens`, or a full bucket if that is less; 0.0: now."""
        if not self._rate:
            return 0.0
        self._refill(now)
        missing = min(tokens, self._burst) - self._tokens
        return max(missing / self._rate, MIN_WAIT) if missing > 0 else 0.0

    def has(self, now: float) -> bool:
        """Return whether there is a token."""
        if now != self._at:
            self._refill(now)
        return self._tokens >= 1.0 or not self._rate

    def is_full(self, now: float) -> bool:
        """Return whether the bucket overflows unless somebody takes a token."""
        if now != self._at:
            self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        # A clock that was set back adds nothing, but must not stop the refill until it has caught up.
        if now > self._at:
            tokens = self._tokens + (now - self._at) * self._rate
            self._tokens = min(self._burst, tokens)
        self._at = now


class RateLimiter:
    """A bucket for each source, for at most `max_sources` sources.

    A new source replaces the least recently used bucket. That one is the most likely to be full, and nobody
    gains when a full bucket is forgotten.
    """

    def __init__(self, rate: float, burst: float, max_sources: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: BoundedDict[Hashable, TokenBucket] = BoundedDict(max_sources)

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, source: Hashable, now: float) -> TokenBucket:
        """Return the bucket of this source; a full one for a new source."""
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = TokenBucket(self._rate, self._burst, now)
        self._buckets.move_to_end(source)
        return bucket


class NestedBucket:
    """The bucket of one source, and the bucket of the host that it shares with others."""

    __slots__ = ("_host", "_own")

    def __init__(self, own: TokenBucket, host: TokenBucket) -> None:
        self._own = own
        self._host = host

    def take(self, now: float) -> bool:
        """As `Bucket.take`. A source whose own bucket is empty takes nothing from its neighbours."""
        return self._own.take(now) and self._host.take(now)


IDS_PER_HOST = 2
"""A host with any number of ids is answered as much as this many ids."""


class PeerLimiter:
    """Limits the requests of each node id, and of all ids of one host together.

    A host is an IPv4 address or an IPv6 /64. Private hosts have no limit of their own, since a whole network
    may be one, unless `private_too`.
    """

    def __init__(self, rate: float, burst: float, private_too: bool) -> None:
        self._ids = RateLimiter(rate, burst)
        self._hosts = RateLimiter(IDS_PER_HOST * rate, IDS_PER_HOST * burst)
        self._private_too = private_too

    def bucket(self, node_id: int, host: str, now: float) -> Bucket:
        """Return the bucket of this node at this host. The bucket of an id is the same at all hosts."""
        own = self._ids.bucket(node_id, now)
        if is_private(host) and not self._private_too:
            return own
        return NestedBucket(own, self._hosts.bucket(host_of(host), now))
