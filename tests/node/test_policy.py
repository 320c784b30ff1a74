from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.node.policy import Policy


class PolicyTests(SynchronousTestCase):
    """The bounds of what a client asks for."""

    policy = Policy(replication=8, min_ttl=60, max_ttl=3600, default_ttl=1800)

    def test_ttl(self) -> None:
        """A time to live is brought within the bounds; 0 asks for the default."""
        self.assertEqual([self.policy.ttl(asked) for asked in (0, 1, 100, 65_535)], [1800, 60, 100, 3600])

    def test_copies(self) -> None:
        """The number of copies is bounded too."""
        asked = (0, 1, 20, 255)
        self.assertEqual([self.policy.copies(n) for n in asked], [8, 1, MAX_REPLICATION, MAX_REPLICATION])
