"""DHT-14: a Kademlia node on Twisted. This page is the map of the house.

Layers, each importing only what stands below it::

    cmd/  app/service.py  app/options.py  app/config.py     what is typed; the real network      sim/  the virtual one
    net/        Twisted: rpc, probe (UDP), api (TCP), bulk (TLS); stack builds the object graph once
    node/       operations: get, put, join, answers to requests, upkeep
    wire/       bytes <-> messages: datagrams of the RPCs, frames and messages of the API
    kademlia/   ids, k-buckets, routing table, lookup          storage/   records; stores in memory, on disk
    security/   identity, sessions, tickets, limits             errors.py  whose fault it is

From `wire/` down everything is pure: no Twisted, no log, no clock, no randomness of its own. What waits for
the disk is a thread below `database/database.py`.
`app/service.py` and `sim/` never meet; both build a node through `stack.py`.

Words, as the paper has them: *contact* (node id and address), *k-bucket*, *replacement cache*,
*lookup* (the iterative search, its *shortlist* and its parallelism *α*), *PING*, *STORE*, *FIND_NODE*,
*FIND_VALUE*, *refresh*, *republish*, *expire*, *join*. A *record* is a value with its version and
expiry; an *owner* signs the *envelope* of a record and deletes with a *tombstone*; a *receipt* is a
holder's word that it has a record; a *seed* is an address to join through.
"""

__version__ = "0.1.0"
