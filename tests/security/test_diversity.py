from twisted.trial.unittest import SynchronousTestCase

from dht14.security.diversity import any_subnet, public_subnet


class DiversityTests(SynchronousTestCase):
    """Which addresses share a limit."""

    def test_public(self) -> None:
        """Those of one IPv4 /24, or of one IPv6 /48."""
        for rule in (public_subnet, any_subnet):
            self.assertEqual(rule("198.51.100.1"), rule("198.51.100.254"))
            self.assertNotEqual(rule("198.51.100.1"), rule("198.51.101.1"))
            self.assertEqual(rule("2001:db8:1::1"), rule("2001:db8:1:ffff::1"))
            self.assertNotEqual(rule("2001:db8:1::1"), rule("2001:db8:2::1"))

    def test_private(self) -> None:
        """Private addresses share none, unless it is asked for."""
        for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd00::1"):
            self.assertIsNone(public_subnet(host))
            self.assertIsNotNone(any_subnet(host))

    def test_self(self) -> None:
        """This node itself, which stands in lookups without an address, shares none either."""
        self.assertEqual((public_subnet(""), any_subnet("")), (None, None))
