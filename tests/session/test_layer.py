from twisted.trial.unittest import SynchronousTestCase

from dht14.session.layer import Target

ADDRESS = ("192.0.2.1", 8000)


class TargetTests(SynchronousTestCase):
    """Whom a datagram is to reach."""

    def test_met(self) -> None:
        """With an id it is this node; without one it is any node."""
        sought, anybody = Target(ADDRESS, 7, False), Target(ADDRESS, None, True)
        self.assertTrue(sought.is_met_by(7) and anybody.is_met_by(7) and anybody.is_met_by(8))
        self.assertFalse(sought.is_met_by(8))

    def test_equal(self) -> None:
        """One handshake with a node serves calls to its address and calls to the contact."""
        self.assertEqual(Target(ADDRESS, 7, False), Target(ADDRESS, 7, True))
        self.assertNotEqual(Target(ADDRESS, 7, True), Target(ADDRESS, None, True))
