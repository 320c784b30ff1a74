"""DHT-14: a Kademlia node on Twisted.

Layers, each importing only what stands below it::

    cmd/                               what is typed: options of twistd, commands of `dht14`
    app/  sim/                         the life of a real node; a network of virtual nodes
    stack                              builds the objects of one node, once, for both
    net/  maintenance/                 Twisted protocols (rpc/, api/, bulk/); what a node does unasked
    node/                              operations: lookup, get, put, join, answers to other nodes
    wire/  session/  database/         messages and bytes; encrypted sessions; the records on disk
    records/  security/                which record wins, an owner's envelope; identity, limits, tickets
    kademlia/                          ids, k-buckets, routing table, lookup
    errors  bounded                    whose fault an error is; collections that stay bounded

From `wire/` down everything is pure (no Twisted, no log, no clock, no randomness of its own), except that the
database waits for the disk in a thread. `app/` and `sim/` never meet; both call `build_stack` in `stack.py`.

`docs/architecture.md` follows a request through these parts and explains the terms.
"""

__version__ = "0.1.0"
