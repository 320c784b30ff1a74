"""The parameters that all nodes of a network share, each with its source or reason. Times in seconds.

`tests.kademlia.test_parameters` asserts how they depend on each other.
"""

# The routing table

K = 20
"""Contacts in a bucket and in a FIND_NODE answer (paper, section 2.2)."""

BUCKET_WIDTHS = (16, 8, 4, 2)
"""Capacity of the buckets of the farthest ranges in multiples of K, the farthest first; all others hold K.

The paper has K everywhere. Half of the network falls into the first range: with 320 contacts for it a node
has room for every node of a network of a few hundred, and most lookups there take one or two hops.
"""

MISSES_TO_DROP = 5
"""Failed calls after which a contact leaves even a bucket without replacements (paper: the first)."""

MISS_SPACING = 1.0
"""Failures closer together than this count as one: they show one outage, not several."""

OUTAGE_CALLS = 8
"""Calls over which the share of answered calls is averaged. Only calls to contacts that had answered before
count. While most of them fail, this node itself may be cut off, and no contact leaves the table."""

NEIGHBOURS = 3 * K
"""The nearest contacts of a node: among them are all holders of all records that it holds."""

MAX_SPARSENESS = 2
"""A region counts as known if our contacts there are at most this many times as far apart as around our own
id. Half of its nodes may be unknown; chance alone makes that likely for one key in a hundred."""

SUBNET_IN_BUCKET, SUBNET_IN_TABLE = 2, 10
"""Contacts of one subnet in a bucket and in the whole table, replacements included (discv5 has the same)."""

LIVENESS_INTERVAL = 5.0
"""Between two passes that ping contacts."""

PROBES_IN_DOUBT = 32
"""Extra PINGs in one pass when no recent call was answered; fewer when some were. A node whose contacts are
all gone notices within a minute, and a well connected node sends almost no extra traffic."""

SUSPECT_INTERVAL, SUSPECTS_AT_ONCE = 10.0, 8
"""How long a contact whose last call failed is left alone, and how many of these are pinged in one pass."""

# Copies and quorums

REPLICATION = 8
"""Copies of a value if the writer asks for no number. With 30 % of all nodes gone at once, one value in
15,000 loses all eight."""

MAX_REPLICATION = 20
"""The most copies a writer may ask for: one bucket's worth."""

GROUP = 5
"""The nodes nearest to a key that hold values are its group. Readers and writers of the key ask the same
group, whatever the replication; a record has at least this many copies."""

QUORUM = 3
"""Most of a group. A write is acknowledged when this many of it have the record on disk; a read ends early
when this many of it have the record that it returns. Two quorums have a member in common."""

STAND_INS = 2
"""Nodes just outside of a group that a reader may ask in place of slow ones in it. With 30 % of all nodes
gone at once, one read in 35 has to wait until the dead nodes are silent."""

LAPSE_WITNESSES = 2
"""Holders that must report that a record has expired, or was replaced by one that has, before that counts."""

FUTURE_WITNESSES = 2
"""Holders that must report a version from the future before a writer goes above it. A single one may lie, and
could raise the versions of a key at will."""

VOUCHING_HOLDERS = 2
"""Holders that must advertise the same large value before a read waits VOUCHED_TIMEOUT for it."""

# Lookups

ALPHA = 5
"""Calls of one lookup in flight (paper: 3). With more than three a lost datagram stalls nothing."""

ALPHA_FAR = 10
"""The same over far paths. There a lookup takes as long as the slowest of the answers that it waits for one
after another, and a call too many costs nothing but datagrams."""

MAX_UNANSWERED = 12
"""Unanswered calls of one lookup, those past their soft timeout included."""

MAX_ASKED = 100
"""Contacts that one lookup asks at most. Honest networks need a third of it. It stops a lookup among hostile
nodes, which can invent nearer contacts without end."""

SUBNET_IN_SET = 2
"""Nodes of one subnet that count among the nearest to a key, in lookups and in sets of holders."""

SUBNET_FAILURES = 4
"""Contacts of one subnet that may refuse or go silent before a lookup asks no more of them."""

DOUBT_LIMIT = 3
"""A lookup distrusts a contact of whose named contacts this many more were slow or worse than answered."""

MAX_SOURCES = 4
"""Nodes that named a contact to a lookup, of which the lookup remembers the first."""

MAX_OTHER_ADDRESSES = 2
"""Further addresses at which a lookup tries a contact that is silent at the first."""

REGION_FACTOR = 2
"""The region of a crowded key is wide enough for this many times as many nodes as hold a record. With 8
copies, all 16 are missing from it for one key in nine million."""

REGION_NODES = 64
"""The nearest nodes of a region that are asked or given the record, at most."""

PATHS = 4
"""Disjoint paths of a lookup for a crowded key (S/Kademlia, Baumgart and Mies 2007, has 4 and 8)."""

INITIAL_CONTACTS = 8
"""Contacts from the routing table, the nearest, that each path asks even if others name nearer ones. Where
every second of them is hostile, all of one path are hostile for one key in 256."""

# Spare calls

NEAR_RTT = 0.015
"""Round trips up to this, in seconds, when nobody is busy, are those of one site or region: there the
processors decide how long an operation takes, and every further call makes it longer. Over longer paths a
further call costs nothing but datagrams, and the slowest of the answers decides."""

SPARES_NEAR, SPARES_FAR = 1, 2
"""Contacts that a read asks beyond the votes that it misses, so that it waits for no single one. Over far
paths it needs the third of five answers, instead of the third of four."""

BUSY_TURN = 0.003
"""Seconds. Where a turn of the reactor takes as long as this, the process is busy: its work decides how long
a read takes, and a spare is a fourth of that work. So a read over near paths asks none then. It still asks
others when an answer is overdue."""

CONTENT_SPARES_NEAR, CONTENT_SPARES_FAR = 1, 4
"""The same where the key is known to be that of content: the first value proves itself, and ends the read."""

SPARE_COPIES = 1
"""Holders that a put over far paths asks beyond those that it needs: it ends when enough have the record, and
does not wait for the slowest. The copy is like that of a stand-in: it counts, it lasts as long as the others,
and a full disk drops it first."""

HEDGE_UNANSWERED = 0.05
"""Seconds after which a read without an answer asks HEDGE_CALLS more contacts."""

HEDGE_FACTOR, HEDGE_MIN, HEDGE_USUAL = 1.25, 0.02, 0.35
"""A read that has an answer asks more after the first figure times as long as that answer took, and again
each time that this has passed twice. Never before the second, in seconds, nor before the third times the
usual round trip: the first answer may be that of a neighbour."""

ANSWER_TURNS = 6
"""Turns of the reactor, as long as the present one, that answers have before a read asks others, or a call is
slow. In a process with many nodes, or one that is busy, an answer takes two or three."""

HEDGE_CALLS = 1
"""Contacts that a read presumes slow each time, and for which the next nearest stand in. One early costs less
than two a little later, 1.5 times the first answer: over far paths 13 datagrams a get instead of 14.6, with a
95th percentile of 149 ms instead of 144 (scripts/bench/wide_area.py, seeds 1 to 8, 16 in flight)."""

# Timeouts of one call

SOFT_TIMEOUT_MIN, SOFT_TIMEOUT_MAX, SOFT_TIMEOUT_UNKNOWN = 0.025, 1.0, 0.25
"""Bounds of srtt + 4 rttvar (RFC 6298), and the value used before the first answer."""

SOFT_TIMEOUT_SLACK = 0.05
"""The soft timeout is also at most twice the lowest round trip plus this."""

SILENT_TIMEOUT_MIN, SILENT_TIMEOUT_MAX = 0.5, 1.0
"""A contact is presumed dead after four soft timeouts, within these bounds; it was sent the request twice."""

HARD_TIMEOUT = 3.0
"""A call has failed after this; a later reply is ignored."""

PUSH_SLOW, PUSH_SILENT = 0.5, 2.0
"""When the push of a large value is slow, and when its contact is presumed dead: it has just said that it
wants the value."""

# Timeouts of one operation

OPERATION_TIMEOUT = 4.5
"""A get or put ends by then with what it has: clients are promised an answer within 5 s."""

LATE_SECONDS = 1.0
"""An operation that ends so much later than it must has stood still with its process: its calls have failed
unheard, and those that were called may be there."""

FIRST_READ_TIMEOUT = 2.5
"""A read that has not ended by then is started again, over disjoint paths."""

HEDGE_DELAY = 0.3
"""When a second holder is asked for a large value as well: the first may have died since it answered."""

UNVOUCHED_TIMEOUT = 0.4
"""How long a read that has a record waits for a greater one that a single holder advertises: a holder that
advertises a value it does not have must not delay a get for longer."""

VOUCHED_TIMEOUT = 2.0
"""The same for one that VOUCHING_HOLDERS advertise. They may be far away and hold the record acknowledged
last, while the record at hand is an old one."""

PUT_QUEUE_TIMEOUT = 2.0
"""How long a put waits for others to end when too many are running; then it begins all the same."""

CLOCK_TIMEOUT = 0.5
"""How long a put waits for the clocks of contacts when its own clock may be wrong."""

# Maintenance

REPUBLISH_INTERVAL = 3600.0
"""Between two checks whether the holders of a record have it (paper, section 2.5), in a stable network."""

REPAIR_INTERVAL_MIN = 60.0
"""The shortest interval between these checks, when contacts live only briefly."""

# Sizes in bytes

MAX_INLINE_VALUE = 1_000
"""The largest value that travels inside a datagram of MAX_DATAGRAM."""

MAX_VALUE = 65_495
"""The largest value: it fills a PUT of the API."""

MAX_DATAGRAM = 1_200
"""Fits every path of the internet without fragments, with room for tunnels."""
