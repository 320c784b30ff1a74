from twisted.trial.unittest import SynchronousTestCase

from dht14.security.subnet import is_private, subnet_of


class SubnetTests(SynchronousTestCase):
    """Addresses of one party."""

    def test_subnets(self) -> None:
        """The /24 of an IPv4 address, the /48 of an IPv6 one."""
        self.assertEqual(subnet_of("203.0.113.1"), subnet_of("203.0.113.255"))
        self.assertNotEqual(subnet_of("203.0.113.1"), subnet_of("203.0.112.1"))
        self.assertEqual(subnet_of("2001:db8:1::1"), subnet_of("2001:db8:1:ffff::2"))
        self.assertNotEqual(subnet_of("2001:db8:1::1"), subnet_of("2001:db8:2::1"))

    def test_private(self) -> None:
        """Loopback, link-local and private ranges, of both families."""
        for host in (
            "127.0.0.1",
            "10.255.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ):
            self.assertTrue(is_private(host), host)
        for host in ("203.0.113.1", "172.32.0.1", "11.0.0.1", "192.169.0.1", "2001:db8::1", "100.64.0.1"):
            self.assertFalse(is_private(host), host)
