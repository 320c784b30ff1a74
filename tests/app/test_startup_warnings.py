from ipaddress import ip_network

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.options import ApiSettings, NodeSettings, Settings
from dht14.app.startup_warnings import tell_unused, warn_of_open_api, warn_of_unreachable_seeds
from dht14.kademlia.contact import Seed
from tests.fakes import fields


class ReachTests(SynchronousTestCase):
    """When the log warns that other hosts can use the API."""

    def test_reach(self) -> None:
        """The API must listen beyond loopback, and allow a network beyond loopback."""
        near = (ip_network("127.0.0.0/8"), ip_network("::1"))
        far = (*near, ip_network("10.0.0.0/8"))
        for host, allowed, warnings in (
            ("0.0.0.0", far, 1),
            ("::", far, 1),
            ("10.1.2.3", far, 1),
            ("some.host", far, 1),
            ("0.0.0.0", near, 0),
            ("127.0.0.1", far, 0),
            ("::1", far, 0),
            ("localhost", far, 0),
        ):
            settings = Settings(NodeSettings(api_address=(host, 7400)), api=ApiSettings(api_allow=allowed))
            with capturedLogs() as events:
                warn_of_open_api(settings)
            self.assertEqual(fields(events, "host", "networks"), [(host, "10.0.0.0/8")] * warnings)


class SeedTests(SynchronousTestCase):
    """When the log warns that a seed cannot be called."""

    def test_kinds(self) -> None:
        """The address must be of the kind of the seed's, and reach beyond this host if the seed is not on it.
        A host name may have any address."""
        for own, seed, warnings in (
            ("0.0.0.0", "10.1.2.3", 0),
            ("0.0.0.0", "2001:db8::1", 1),
            ("::", "2001:db8::1", 0),
            ("::", "10.1.2.3", 0),
            ("::1", "127.0.0.1", 1),
            ("::1", "::1", 0),
            ("127.0.0.1", "127.0.0.2", 0),
            ("127.0.0.1", "10.1.2.3", 1),
            ("10.1.2.3", "127.0.0.1", 0),
            ("10.1.2.3", "10.1.2.4", 0),
            ("10.1.2.3", "fe80::1%eth0", 1),
            ("127.0.0.1", "some.host", 0),
            ("some.host", "10.1.2.3", 0),
        ):
            settings = Settings(NodeSettings(p2p_address=(own, 8000)), bootstrap=(Seed(seed, 8001, None),))
            with capturedLogs() as events:
                warn_of_unreachable_seeds(settings)
            self.assertEqual(fields(events, "host", "port", "own"), [(seed, 8001, own)] * warnings)


class UnusedTests(SynchronousTestCase):
    """What the log says of a VoidPhone's shared file."""

    def test_told(self) -> None:
        """What other modules read is named; of a file of ours nothing is said."""
        for unused, warned in ((("hostkey", "[rps]"), [("hostkey, [rps]",)]), ((), [])):
            with capturedLogs() as events:
                tell_unused(Settings(unused=unused))
            self.assertEqual(fields(events, "unused"), warned)
