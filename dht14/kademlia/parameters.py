"""The system-wide parameters, each with its source or its reason. Times in seconds."""

K = 20
"""Contacts in a bucket and in a FIND_NODE answer (paper, section 2.2)."""

BUCKET_WIDTHS = (16, 8, 4, 2)
"""How many times K the buckets of the farthest ranges hold, the farthest first; K from then on.

The paper has K everywhere. Half of the network falls into the first range: with 320 contacts for it a
network of a few hundred nodes is known whole, and most lookups are one hop.
"""

REPLICATION = 8
"""Copies of a value when the writer does not say. With 30 % of all nodes gone at once, one value in
15,000 loses all eight."""

MAX_REPLICATION = 20
"""The most copies a writer may ask for: one k-bucket's worth."""

GROUP = 5
"""The nodes nearest to a key that hold values are its group: its readers and its writers ask the same ones,
whatever the replication. A record has at least as many copies."""

QUORUM = 3
"""Most of a group. A write counts when so many of it have the record on disk; a read ends early when so many
of it have the record that it brings. Two such majorities have a member in common."""

STAND_INS = 2
"""Nodes just outside of a group that a reader may hear in place of slow ones in it. With 30 % of all nodes gone at once,
one read in 35 has to wait until those are taken for dead."""

ALPHA = 5
"""Calls of one lookup in flight (paper: 3). More than three hide a lost datagram without a stall."""

MAX_UNANSWERED = 12
"""Calls of one lookup out at once, those past their soft timeout included."""

MAX_ASKED = 100
"""Contacts one lookup asks at most. Honest networks need a third of it; a hostile one, which can
invent nearer contacts for ever, ends here."""

SOFT_TIMEOUT_MIN, SOFT_TIMEOUT_MAX, SOFT_TIMEOUT_UNKNOWN = 0.025, 1.0, 0.25
"""Bounds of srtt + 4 rttvar (RFC 6298), and what stands in for it before the first answer."""

SOFT_TIMEOUT_SLACK = 0.05
"""Nor is the soft timeout longer than twice the lowest round trip and this."""

SILENT_TIMEOUT_MIN, SILENT_TIMEOUT_MAX = 0.5, 1.0
"""After four soft timeouts within these bounds a contact that was sent to twice is taken for dead."""

HARD_TIMEOUT = 3.0
"""A reply that comes later than this is not waited for."""

OPERATION_TIMEOUT = 4.5
"""A get or put ends by then with what it has: clients are promised an answer within 5 s."""

FIRST_READ_TIMEOUT = 2.5
"""A read that has not come to its end by then is begun anew, over disjoint paths."""

MISSES_TO_DROP = 5
"""Failed calls after which a contact without a verified spare leaves the table (paper: the first)."""

MISS_SPACING = 1.0
"""Failures nearer to each other than this are one: they tell of one outage, not of several."""

OUTAGE_CALLS = 8
"""Calls to contacts that were well from which is told, by their weighted average, whether it is rather
this node that is cut off: while most of them fail, nobody leaves the table."""

MAX_SPARSENESS = 2
"""A region is taken for known where our contacts lie at most so many times as far apart as around our own
id: half of them may be missing, which chance alone makes likely for one key in a hundred."""

SUBNET_IN_BUCKET, SUBNET_IN_TABLE = 2, 10
"""Contacts of one subnet in a bucket and in the whole table, spares counted (discv5 has the same)."""

SUBNET_IN_SET = 2
"""Nodes of one subnet that count among the nearest to a key, in lookups as in sets of holders."""

SUBNET_FAILURES = 4
"""Contacts of one subnet that may refuse or stay silent before a lookup asks no more of them."""

DOUBT_LIMIT = 3
"""A contact is believed last where so many more of those it named were slow or worse than have answered."""

MAX_SOURCES = 4
"""Of those that named a contact to a lookup, so many are remembered."""

MAX_OTHER_ADDRESSES = 2
"""Further addresses under which a lookup tries a contact that is silent at the first it heard of."""

REGION_FACTOR = 2
"""Times as many nodes as shall hold a record are expected in the region of a crowded key. With 8 copies, all
16 are missing from it for one key in nine million."""

REGION_NODES = 64
"""Of the nodes found there, at most so many are asked or given the record: the nearest."""

PATHS = 4
"""Disjoint paths of a lookup for a crowded key (S/Kademlia, Baumgart and Mies 2007, has 4 and 8)."""

LIVENESS_INTERVAL = 5.0
"""Between two looks at who is to be pinged."""

PROBES_IN_DOUBT = 32
"""PINGs besides, in one look, when nobody has answered lately; fewer where some have. So a node whose
contacts are all gone knows it within a minute, and one that is well has next to no traffic."""

SUSPECT_INTERVAL, SUSPECTS_AT_ONCE = 10.0, 8
"""How long a contact whose last call failed is left alone, and how many such are pinged in one pass."""

REPUBLISH_INTERVAL = 3600.0
"""Between two looks at whether the holders of a record have it (paper, section 2.5), where contacts live long."""

REPAIR_INTERVAL_MIN = 60.0
"""The shortest such interval, where they do not."""

MAX_INLINE_VALUE = 1_000
"""Bytes of a value that travels inside a datagram of at most 1,200."""

MAX_VALUE = 65_495
"""Bytes of the largest value: what a PUT of the API has room for."""

MAX_DATAGRAM = 1_200
"""Bytes; fits every path of the internet without fragments, with room for tunnels."""
