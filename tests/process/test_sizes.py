"""Values of every size, from API to API, between real processes."""

from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_VALUE
from tests.owners import Owner
from tests.process.test_network import NetworkTestCase

SIZES = (1, 1000, 1001, 16_384, 65_494, MAX_VALUE)
"""Around the largest that fits a datagram, the largest there is, and some between."""


class SizesTests(NetworkTestCase):
    def test_everywhere(self) -> None:
        """Whatever its size, a value that is put at one node is found by all others, most of which do not
        hold it."""
        cluster = self.cluster(5)
        values = {self.rng.randbytes(32): self.rng.randbytes(size) for size in SIZES}
        values[id_to_bytes(Owner().key)] = Owner().says(bytes(MAX_VALUE - 200), 1)
        with cluster[0].client() as client:
            for key, value in values.items():
                self.assertTrue(client.put(key, value, replication=2), len(value))
        self.assert_found(cluster, values)
