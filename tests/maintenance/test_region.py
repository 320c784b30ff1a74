import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import K
from dht14.maintenance.region import Region


class RegionTests(SynchronousTestCase):
    def test_covers(self) -> None:
        """A lookup serves the keys whose nearest nodes it has certainly found, and no others."""
        rng = random.Random(1)
        nodes = [rng.getrandbits(256) for _ in range(1000)]
        target = rng.getrandbits(256)
        found = sorted(nodes, key=target.__xor__)[:K]
        region = Region(target, tuple(Contact(node_id, ("", 0)) for node_id in found))
        self.assertTrue(region.covers(target ^ 1, 8))
        self.assertFalse(region.covers(target ^ (1 << 255), 8))
        for _ in range(1000):
            key = target ^ rng.getrandbits(rng.randint(240, 256))
            if region.covers(key, 8):
                self.assertLessEqual(set(sorted(nodes, key=key.__xor__)[:8]), set(found))

    def test_small_network(self) -> None:
        """A lookup that found fewer than k nodes found all there are."""
        self.assertTrue(Region(0, (Contact(1, ("", 0)),)).covers(1 << 255, 8))
