"""Networks of real nodes on 127.0.0.1 for tests. Importing it imports no Twisted."""

from dht14.embedding.testnet import AsyncCluster, Cluster, testnet

__all__ = ["AsyncCluster", "Cluster", "testnet"]
