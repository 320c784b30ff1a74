"""Token buckets: how much each source may ask for, with `now` (seconds) as an argument."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol

from dht14.security.subnets import host_of, is_private


class Bucket(Protocol):
    """What tells whether somebody may do one more of something."""

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate` of them a second; with rate 0 it never runs dry."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        # Below one token nothing could ever be taken.
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        if now != self._at:
            self._refill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        return not self._rate

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Seconds until so many tokens (or a whole bucket, if that is less) are there; 0.0 when they are."""
        if not self._rate:
            return 0.0
        self._refill(now)
        return max(0.0, (min(tokens, self._burst) - self._tokens) / self._rate)

    def has(self, now: float) -> bool:
        """Whether there is one to take."""
        if now != self._at:
            self._refill(now)
        return self._tokens >= 1.0 or not self._rate

    def is_full(self, now: float) -> bool:
        """Whether what it gains is lost unless somebody takes it."""
        if now != self._at:
            self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        # A clock that was set back gives nothing, but must not stop the refilling until it caught up.
        if now > self._at:
            tokens = self._tokens + (now - self._at) * self._rate
            self._tokens = min(self._burst, tokens)
        self._at = now


class RateLimiter:
    """A bucket for each source, for boundedly many sources.

    The least recently used bucket is forgotten first. It is the one nearest to being full, and a full
    bucket may be forgotten without anybody gaining by it.
    """

    def __init__(self, rate: float, burst: float, max_sources: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._max_sources = max_sources
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, source: Hashable, now: float) -> TokenBucket:
        """The bucket of this source; a full one for a source not heard of."""
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = TokenBucket(self._rate, self._burst, now)
            if len(self._buckets) > self._max_sources:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(source)
        return bucket


class NestedBucket:
    """The bucket of one source inside that of the host that it shares with others."""

    __slots__ = ("_host", "_own")

    def __init__(self, own: TokenBucket, host: TokenBucket) -> None:
        self._own = own
        self._host = host

    def take(self, now: float) -> bool:
        """As `Bucket.take`. Who has none left of its own takes nothing from its neighbours."""
        return self._own.take(now) and self._host.take(now)


IDS_PER_HOST = 2
"""A host is answered as much as so many ids, however many it has."""


class PeerLimiter:
    """What peers may ask for: each node id, and all ids of one host together.

    A host is an IPv4 address or an IPv6 /64; those of private ranges, where a whole network may be one, have no
    limit of their own unless they are to be treated alike.
    """

    def __init__(self, rate: float, burst: float, private_too: bool) -> None:
        self._ids = RateLimiter(rate, burst)
        self._hosts = RateLimiter(IDS_PER_HOST * rate, IDS_PER_HOST * burst)
        self._private_too = private_too

    def bucket(self, node_id: int, host: str, now: float) -> Bucket:
        """The bucket of this node at this host; that of its id is the same wherever it is."""
        own = self._ids.bucket(node_id, now)
        if is_private(host) and not self._private_too:
            return own
        return NestedBucket(own, self._hosts.bucket(host_of(host), now))
