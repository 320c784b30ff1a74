from twisted.trial.unittest import SynchronousTestCase

from dht14.security.subnets import (
    Scope,
    any_subnet,
    counted_subnet,
    host_of,
    is_private,
    parties_of,
    public_subnet,
    subnet_of,
)


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
        self.assertTrue(is_private("fe80::1%eth0"))
        self.assertTrue(is_private("::ffff:10.0.0.1"))
        for host in (
            "203.0.113.1",
            "172.32.0.1",
            "172.15.255.255",
            "fec0::1",
            "::2",
            "0.0.0.0",
            "::",
            "11.0.0.1",
            "192.169.0.1",
            "2001:db8::1",
            "100.64.0.1",
        ):
            self.assertFalse(is_private(host), host)

    def test_no_address(self) -> None:
        """A name is no address."""
        for host in ("localhost", "", "1.2.3", "1.2.3.4.5", "2001:db8", "::g"):
            self.assertRaises(ValueError, is_private, host)

    def test_hosts(self) -> None:
        """An IPv4 address and an IPv6 /64 are one host; each private IPv6 address is one."""
        self.assertEqual(host_of("203.0.113.1"), bytes([203, 0, 113, 1]))
        self.assertEqual(host_of("2001:db8:1:2::1"), host_of("2001:db8:1:2:ffff::1"))
        self.assertNotEqual(host_of("fd00::1"), host_of("fd00::2"))

    def test_parties(self) -> None:
        """Host, subnet and, of IPv6, provider share the limits of an address; of a private one only the
        host."""
        scopes = [
            [scope for scope, _ in parties_of(host, private)]
            for host, private in (
                ("203.0.113.1", False),
                ("2001:db8:1::1", False),
                ("10.0.0.1", False),
                ("10.0.0.1", True),
                ("::ffff:203.0.113.1", False),
            )
        ]
        public = [Scope.HOST, Scope.SUBNET]
        self.assertEqual(scopes, [public, [*public, Scope.PROVIDER], [Scope.PRIVATE_HOST], public, public])
        one, other = (set(parties_of(host)) for host in ("2001:db8:1::1", "2001:db8:2::1"))
        self.assertEqual(one & other, {(Scope.PROVIDER, bytes.fromhex("20010db8"))})

    def test_counted_subnet(self) -> None:
        """A writer is counted by its subnet, or by its host where subnets do not count."""
        self.assertEqual(counted_subnet("203.0.113.1", subnet_of), bytes([203, 0, 113]))
        self.assertEqual(counted_subnet("10.0.0.1", lambda host: None), bytes([10, 0, 0, 1]))


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
        """Private addresses share none, unless `diversity_private`."""
        for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd00::1"):
            self.assertIsNone(public_subnet(host))
            self.assertIsNotNone(any_subnet(host))

    def test_self(self) -> None:
        """This node itself, which has no address in lookups, shares none either."""
        self.assertEqual((public_subnet(""), any_subnet("")), (None, None))
