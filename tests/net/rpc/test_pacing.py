from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address
from dht14.net.rpc.pacing import MAX_ADDRESSES, MAX_WAIT, SENDING_SHARE, Pacing

HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 1)
RATE, BURST = 100.0, 10.0


def address(number: int) -> Address:
    return (f"10.1.{number >> 8}.{number & 255}", 1)


class PacingTests(SynchronousTestCase):
    """The time of the next request to an address."""

    def setUp(self) -> None:
        self.pacing = Pacing(RATE, BURST)

    def waits(self, count: int, now: float = 0.0) -> list[float]:
        """The waiting times of `count` requests at once."""
        waits = [self.pacing.reserve(HERE, now) for _ in range(count)]
        return [round(wait, 6) for wait in waits if wait is not None]

    def test_burst_then_even(self) -> None:
        """A burst is sent at once, the rest evenly, both below the limit of the peer."""
        at_once = round(SENDING_SHARE * BURST)
        interval = 1 / (SENDING_SHARE * RATE)
        evenly = [round(number * interval, 6) for number in (1, 2, 3)]
        self.assertEqual(self.waits(at_once + 3), [0.0] * at_once + evenly)

    def test_each_address(self) -> None:
        """Requests to one address do not delay those to others."""
        self.waits(50)
        self.assertEqual(self.pacing.reserve(THERE, 0.0), 0.0)

    def test_recovers(self) -> None:
        """After a while without requests one burst is sent at once again."""
        self.waits(50)
        waits = self.waits(50, now=3600.0)
        self.assertEqual(waits.count(0.0), round(SENDING_SHARE * BURST))

    def test_bound(self) -> None:
        """No request waits for longer than MAX_WAIT; one that must wait longer is refused and reserves
        nothing."""
        waits = self.waits(10_000)
        self.assertLessEqual(max(waits), MAX_WAIT)
        self.assertAlmostEqual(len(waits), SENDING_SHARE * (BURST + MAX_WAIT * RATE), delta=1.0)
        self.assertIsNone(self.pacing.reserve(HERE, 0.0))
        self.assertIsNotNone(self.pacing.reserve(HERE, 2 / (SENDING_SHARE * RATE)))

    def test_single(self) -> None:
        """If no burst is allowed, one request is sent at once."""
        self.pacing = Pacing(RATE, 0.0)
        self.assertEqual(self.waits(2), [0.0, round(1 / (SENDING_SHARE * RATE), 6)])

    def test_no_limit(self) -> None:
        """With rate 0 nothing waits."""
        self.pacing = Pacing(0.0, 0.0)
        self.assertEqual(self.waits(1000), [0.0] * 1000)

    def test_clock_set_back(self) -> None:
        """If the clock goes back requests fail or wait, but none for longer than MAX_WAIT."""
        self.waits(50, now=1.0)
        self.assertTrue(all(wait <= MAX_WAIT for wait in self.waits(50, now=0.9)))

    def test_remembers_boundedly(self) -> None:
        """The number of addresses remembered is limited."""
        for number in range(MAX_ADDRESSES + 100):
            self.pacing.reserve(address(number), 0.0)
        self.assertEqual(len(self.pacing._next_at), MAX_ADDRESSES)
