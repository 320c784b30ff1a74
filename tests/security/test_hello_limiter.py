from twisted.trial.unittest import SynchronousTestCase

from dht14.security.hello_limiter import (
    HELLO_WINDOW,
    HELLOS_PER_ADDRESS,
    HELLOS_PER_HOST,
    MAX_ADDRESSES,
    HelloLimiter,
)

ADDRESS = ("203.0.113.1", 8000)


class HelloAllowanceTests(SynchronousTestCase):
    """HELLOs to an address that never answered."""

    def setUp(self) -> None:
        self.limiter = HelloLimiter()

    def take(self, count: int, now: float) -> int:
        return sum(self.limiter.take(ADDRESS, now) for _ in range(count))

    def test_bout(self) -> None:
        """Two HELLOs, and two more when 10 min have passed since the first."""
        self.assertEqual(self.take(10, 0.0), HELLOS_PER_ADDRESS)
        self.assertEqual(self.take(10, HELLO_WINDOW - 1), 0)
        self.assertEqual(self.take(10, HELLO_WINDOW), HELLOS_PER_ADDRESS)

    def test_others(self) -> None:
        """Another port is another address."""
        self.take(10, 0.0)
        self.assertTrue(self.limiter.take((ADDRESS[0], 8001), 0.0))

    def test_host(self) -> None:
        """All ports of a host together get a limited number; those of a private host any number."""
        for host, expected in (
            (ADDRESS[0], HELLOS_PER_HOST),
            ("2001:db8::1", HELLOS_PER_HOST),
            ("127.0.0.1", 1_000),
        ):
            taken = sum(self.limiter.take((host, port), 0.0) for port in range(1, 1_001))
            self.assertEqual(taken, expected)
        self.assertTrue(self.limiter.take((ADDRESS[0], 1), HELLO_WINDOW))

    def test_proved(self) -> None:
        """An address where a node answered has no limit."""
        self.take(10, 0.0)
        self.limiter.proved(ADDRESS)
        self.assertEqual(self.take(10, 0.0), 10)
        self.assertEqual([self.limiter.is_proven((ADDRESS[0], port)) for port in (8000, 8001)], [True, False])

    def test_clock_set_back(self) -> None:
        """A clock that was set back does not extend a window."""
        self.take(10, 1e9)
        self.assertEqual(self.take(10, 0.0), HELLOS_PER_ADDRESS)

    def test_bounded(self) -> None:
        """A limited number of addresses is remembered; those proven last stay."""
        for number in range(MAX_ADDRESSES + 10):
            address = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
            self.limiter.take(address, 0.0)
            self.limiter.proved(address)
            self.limiter.take((address[0], 2), 0.0)
        self.assertEqual(len(self.limiter._proven), MAX_ADDRESSES)
        self.assertEqual(len(self.limiter._sent), MAX_ADDRESSES)
        self.assertTrue(all(self.limiter.take(address, 0.0) for _ in range(10)))
