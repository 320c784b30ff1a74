"""What a SUCCESS is worth: the node that gave it dies, and everything it acknowledged is there."""

from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.receipt import PutReason
from tests.process.test_network import NetworkTestCase

NODES = 5
LIMIT = {"DHT14_STORAGE_STORAGE_LIMIT": "8M"}
MOST_VALUES = 200
"""More large values than stores of this size hold."""


class ReceiptTests(NetworkTestCase):
    def test_full_holders(self) -> None:
        """A client fills a small network through one node: what is acknowledged survives the sudden death of
        that node, and what the others have no room for is refused, with the reason."""
        first = self.network.bootstrap_node()
        nodes = [self.network.node(seeds=(first,), environment=LIMIT) for _ in range(NODES)]
        for node in nodes:
            node.wait_for("Joined")
        kept: dict[bytes, bytes] = {}
        refusals = set[PutReason]()
        with nodes[0].client() as client:
            for _ in range(MOST_VALUES):
                key, value = self.rng.randbytes(32), self.rng.randbytes(MAX_VALUE)
                receipt = client.put_with_receipt(key, value)
                if receipt.acknowledged:
                    self.assertEqual(receipt.stored, NODES)
                    kept[key] = value
                else:
                    refusals.add(receipt.reason)
        self.assertGreater(len(kept), 20)
        self.assertLess(len(kept), MOST_VALUES)
        self.assertLessEqual(refusals, {PutReason.WRITER_SHARE, PutReason.NO_ROOM})
        nodes[0].wait_for("A PUT was not stored")
        nodes[0].kill()
        with nodes[1].client() as client:
            lost = [key for key, value in kept.items() if client.get(key) != value]
        self.assertEqual(lost, [])
