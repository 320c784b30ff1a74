from ipaddress import ip_network

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.options import ApiSettings, NodeSettings, Settings
from dht14.app.startup_warnings import tell_unused, warn_of_open_api
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


class UnusedTests(SynchronousTestCase):
    """What the log says of a VoidPhone's shared file."""

    def test_told(self) -> None:
        """What other modules read is named; of a file of ours nothing is said."""
        for unused, warned in ((("hostkey", "[rps]"), [("hostkey, [rps]",)]), ((), [])):
            with capturedLogs() as events:
                tell_unused(Settings(unused=unused))
            self.assertEqual(fields(events, "unused"), warned)
