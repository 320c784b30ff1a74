from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.metrics import ApiMetrics
from dht14.net.api.watch_shares import WatchShares
from dht14.node.watches import MAX_SUBSCRIPTIONS, MAX_WATCHED

ONE, NEIGHBOUR, OTHER = "198.51.100.1", "198.51.100.2", "203.0.113.1"


class WatchSharesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shares = WatchShares(ApiMetrics())

    def take(self, address: str, first: int, limit: int = MAX_WATCHED) -> int:
        """How many keys a new connection watches that tries as many as there are, from `first` on."""
        share = self.shares.of_connection(address)
        return sum(share.take(b"%d" % (first + n), limit) for n in range(MAX_WATCHED))

    def test_alone(self) -> None:
        """A connection gets half of the keys, and an address or subnet two thirds; others still get some."""
        self.assertEqual(round(self.take(ONE, 0) / MAX_WATCHED, 2), 0.5)
        taken = [self.take(ONE if n % 2 else NEIGHBOUR, 10_000 * n) for n in range(1, 50)]
        self.assertEqual(round(self.shares.keys / MAX_WATCHED, 2), 0.67)
        self.assertGreater(taken[0], 100)
        self.assertGreater(self.take(OTHER, 10), 100)

    def test_limit(self) -> None:
        """A connection watches so many keys at most; each refusal is counted."""
        self.assertEqual(self.take(ONE, 0, limit=5), 5)
        self.assertEqual(self.shares.metrics.watches_refused, MAX_WATCHED - 5)

    def test_same_keys(self) -> None:
        """Keys that its other connections watch cost an address nothing of the keys, but of the watches."""
        taken = 0
        while more := self.take(ONE, 0, limit=300):
            taken += more
        self.assertEqual(self.shares.keys, 300)
        self.assertEqual(round(taken / MAX_SUBSCRIPTIONS, 2), 0.67)

    def test_given_back(self) -> None:
        """What is given back is free again, and nothing of it is remembered."""
        shares = [self.shares.of_connection(address) for address in (ONE, ONE, OTHER)]
        for share in shares:
            self.assertTrue(share.take(b"key", 1))
            self.assertFalse(share.take(b"other", 1))
        for share in shares:
            share.give_back(b"key")
        self.assertEqual((self.shares.keys, self.shares._all.watches, self.shares._by_party), (0, 0, {}))
