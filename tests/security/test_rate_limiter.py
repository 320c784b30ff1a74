from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.security.rate_limiter import IDS_PER_HOST, PeerLimiter, RateLimiter, TokenBucket


def taken(bucket: TokenBucket, now: float, tries: int) -> int:
    return sum(bucket.take(now) for _ in range(tries))


class TokenBucketTests(SynchronousTestCase):
    def test_burst(self) -> None:
        """A full bucket gives its burst at once and no more."""
        self.assertEqual(taken(TokenBucket(100, 200, now=5.0), 5.0, 300), 200)

    def test_rate(self) -> None:
        """An empty one gains the rate, up to the burst."""
        bucket = TokenBucket(100, 200, now=0.0)
        taken(bucket, 0.0, 200)
        self.assertEqual(taken(bucket, 0.5, 300), 50)
        self.assertEqual(taken(bucket, 1000.0, 300), 200)

    def test_wait(self) -> None:
        """`wait` gives the seconds until there are that many tokens, at most a full bucket."""
        bucket = TokenBucket(4, 8, now=0.0)
        self.assertEqual(bucket.wait(0.0), 0.0)
        taken(bucket, 0.0, 8)
        self.assertEqual(bucket.wait(0.0), 0.25)
        self.assertEqual(bucket.wait(0.0, tokens=4), 1.0)
        self.assertEqual(bucket.wait(0.0, tokens=1000), 2.0)
        self.assertEqual(bucket.wait(0.25), 0.0)

    def test_wait_ends(self) -> None:
        """After one wait, or another one for its rounding error, there is a token: whatever the clock shows,
        it moves."""
        for rate in (3.0, 10.0, 1000.0):
            now = 1_700_000_000.1
            bucket = TokenBucket(rate, 1, now)
            for _ in range(1000):
                self.assertTrue(bucket.take(now))
                for _ in range(2):
                    now += bucket.wait(now)
                self.assertEqual(bucket.wait(now), 0.0)

    def test_off(self) -> None:
        """With rate 0 there is no limit."""
        bucket = TokenBucket(0, 1, now=0.0)
        self.assertEqual(taken(bucket, 0.0, 1000), 1000)
        self.assertEqual(bucket.wait(0.0, tokens=1000), 0.0)

    def test_small_burst(self) -> None:
        """A burst below one token still lets one request through at a time."""
        bucket = TokenBucket(1, 0, now=0.0)
        self.assertEqual([taken(bucket, now, 5) for now in (0.0, 0.5, 1.0)], [1, 0, 1])

    def test_clock_set_back(self) -> None:
        """A clock that is set back adds no tokens, and the bucket fills from there on."""
        bucket = TokenBucket(1, 10, now=1000.0)
        taken(bucket, 1000.0, 10)
        self.assertEqual(taken(bucket, 10.0, 10), 0)
        self.assertEqual(taken(bucket, 13.0, 10), 3)

    @settings(derandomize=True, deadline=None)
    @given(st.floats(0.1, 1000), st.floats(1, 1000), st.lists(st.floats(0, 10), max_size=50))
    def test_never_more_than_promised(self, rate, burst, pauses) -> None:
        """Over any time the burst and the rate are not exceeded."""
        bucket, now, got = TokenBucket(rate, burst, now=0.0), 0.0, 0
        for pause in pauses:
            now += pause
            got += taken(bucket, now, 20)
            self.assertLessEqual(got, burst + rate * now + 1e-6)


class RateLimiterTests(SynchronousTestCase):
    def test_sources_apart(self) -> None:
        """Each source has a bucket of its own, and keeps it."""
        limiter = RateLimiter(1, 2)
        self.assertEqual(taken(limiter.bucket("a", 0.0), 0.0, 5), 2)
        self.assertEqual(taken(limiter.bucket("b", 0.0), 0.0, 5), 2)
        self.assertEqual(taken(limiter.bucket("a", 0.0), 0.0, 5), 0)

    def test_bounded(self) -> None:
        """The least recently used bucket is forgotten when there are too many."""
        limiter = RateLimiter(1, 2, max_sources=2)
        first, second = limiter.bucket("a", 0.0), limiter.bucket("b", 0.0)
        limiter.bucket("a", 0.0)
        limiter.bucket("c", 0.0)
        self.assertEqual(len(limiter), 2)
        self.assertIs(limiter.bucket("a", 0.0), first)
        self.assertIsNot(limiter.bucket("b", 0.0), second)


class PeerLimiterTests(SynchronousTestCase):
    """The limits of node ids, and of all ids of one host."""

    def asked(self, hosts: list[str], private_too: bool = False, tries: int = 5_000) -> int:
        """Requests granted in one moment to a new id at each of these hosts."""
        limiter = PeerLimiter(1_000, 2_000, private_too)
        buckets = [limiter.bucket(node_id, host, 0.0) for node_id, host in enumerate(hosts)]
        return sum(bucket.take(0.0) for bucket in buckets for _ in range(tries))

    def test_one_host(self) -> None:
        """50 ids on one host get as much as two ids; an IPv6 /64 is one host."""
        self.assertEqual(self.asked(["198.51.100.1"]), 2_000)
        self.assertEqual(self.asked(["198.51.100.1"] * 50), IDS_PER_HOST * 2_000)
        self.assertEqual(self.asked([f"2001:db8::{n:x}" for n in range(50)]), IDS_PER_HOST * 2_000)
        self.assertEqual(self.asked([f"198.51.100.{n}" for n in range(50)], tries=2_000), 100_000)

    def test_private(self) -> None:
        """A private host has no limit of its own, unless `private_too`."""
        self.assertEqual(self.asked(["127.0.0.1"] * 50, tries=2_000), 100_000)
        self.assertEqual(self.asked(["127.0.0.1"] * 50, private_too=True), IDS_PER_HOST * 2_000)

    def test_same_id(self) -> None:
        """The bucket of an id is the same at every host."""
        limiter = PeerLimiter(1_000, 2_000, False)
        buckets = [limiter.bucket(7, f"198.51.100.{n}", 0.0) for n in range(20)]
        self.assertEqual(sum(bucket.take(0.0) for bucket in buckets for _ in range(2_000)), 2_000)

    def test_greedy(self) -> None:
        """An id that has used up its own tokens takes none from its neighbours."""
        limiter = PeerLimiter(1_000, 2_000, False)
        greedy, other = (limiter.bucket(node_id, "198.51.100.1", 0.0) for node_id in (1, 2))
        self.assertEqual(sum(greedy.take(0.0) for _ in range(50_000)), 2_000)
        self.assertEqual(sum(other.take(0.0) for _ in range(50_000)), 2_000)

    def test_off(self) -> None:
        """With rate 0 there is no limit."""
        bucket = PeerLimiter(0, 1, False).bucket(1, "198.51.100.1", 0.0)
        self.assertTrue(all(bucket.take(0.0) for _ in range(1_000)))
