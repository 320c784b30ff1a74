"""The Kademlia paper as values: ids, contacts, k-buckets, the routing table and the lookup.

Nothing here uses sockets, Twisted or a clock: `now` (seconds) and a `random.Random` are arguments. Paper:
Maymounkov and Mazières, "Kademlia: A Peer-to-peer Information System Based on the XOR Metric", 2002.
"""
