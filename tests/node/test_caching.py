from twisted.trial.unittest import SynchronousTestCase

from dht14.node.caching import CACHE_SECONDS, cache_lifetime


class CacheLifetimeTests(SynchronousTestCase):
    def test_halved(self) -> None:
        """An hour at the most, halved for each node that is nearer and does not hold the record anyway."""
        lifetimes = [cache_lifetime(1e6, nearer, holders=8) for nearer in (0, 8, 9, 11)]
        self.assertEqual(lifetimes, [CACHE_SECONDS / n for n in (1, 1, 2, 8)])

    def test_never_longer(self) -> None:
        """No cached copy outlives its record."""
        self.assertEqual(cache_lifetime(5.0, 0, holders=8), 5.0)
