from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.security.rate_limiter import RateLimiter, TokenBucket


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
        """It says how long it takes until so many tokens are there, and never more than a whole bucket."""
        bucket = TokenBucket(4, 8, now=0.0)
        self.assertEqual(bucket.wait(0.0), 0.0)
        taken(bucket, 0.0, 8)
        self.assertEqual(bucket.wait(0.0), 0.25)
        self.assertEqual(bucket.wait(0.0, tokens=4), 1.0)
        self.assertEqual(bucket.wait(0.0, tokens=1000), 2.0)
        self.assertEqual(bucket.wait(0.25), 0.0)

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
        """A clock that is set back gives nothing, and the bucket fills from there on."""
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
