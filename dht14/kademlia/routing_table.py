"""The routing table: buckets that split along the node's own branch (paper, section 2.4).

Departures from the paper: only contacts that answered us enter; the buckets of the far ranges are wider
(`parameters.BUCKET_WIDTHS`); the k closest are found by bisection over one sorted list of ids, so that the
result is exact and costs microseconds whatever the number of contacts; while most contacts fail to answer,
none leaves, because this node itself is probably cut off; of each subnet only a few enter. Contacts over the
subnet limit are not cached: when one of their subnet leaves, the next to answer takes its place.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from operator import attrgetter

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.kbucket import Entry, KBucket
from dht14.kademlia.keyspace import ID_BITS, random_id, random_id_sharing, shared_prefix
from dht14.kademlia.lost import LostContacts
from dht14.kademlia.parameters import (
    BUCKET_WIDTHS,
    LIVENESS_INTERVAL,
    NEIGHBOURS,
    OUTAGE_CALLS,
    PROBES_IN_DOUBT,
    REPLICATION,
    SUBNET_IN_BUCKET,
    SUBNET_IN_TABLE,
    SUSPECT_INTERVAL,
    SUSPECTS_AT_ONCE,
    K,
)
from dht14.kademlia.ping_order import DISPUTE_SPACING, PingOrder
from dht14.kademlia.sorted_ids import SortedIds
from dht14.kademlia.subnet_limits import Subnet, SubnetOf, SubnetQuota, unlimited


def bucket_capacity(depth: int) -> int:
    """Return the capacity of the bucket of ids that share `depth` leading bits with ours."""
    return K * (BUCKET_WIDTHS[depth] if depth < len(BUCKET_WIDTHS) else 1)


@define
class RoutingTable:
    """The contacts that this node knows to be alive. Methods in the past tense report facts."""

    own_id: int
    subnet_of: SubnetOf = unlimited
    _buckets: list[KBucket] = field(init=False)
    """Bucket i holds the ids that share exactly i bits with ours; the last one holds all others."""
    _entries: dict[int, Entry] = field(factory=dict, init=False)
    """The entries of all buckets, by id. Every answer to a FIND_NODE is made from them."""
    _ids: SortedIds = field(factory=SortedIds, init=False)
    """Their ids."""
    _suspects: set[int] = field(factory=set, init=False)
    """Ids of entries whose last call failed."""
    _answering: float = field(default=1.0, init=False)
    """The share of the latest calls to responsive contacts that was answered."""
    changes: int = field(default=0, init=False)
    """Increases with every contact that enters or leaves."""
    revision: int = field(default=0, init=False)
    """Increases whenever `closest` may return another result than before."""
    losses: int = field(default=0, init=False)
    """Contacts that have left because they were silent."""
    on_suspect: Callable[[], object] = field(default=lambda: None, init=False)
    """Called when a contact that was responsive has not answered."""
    _lost: LostContacts = field(factory=LostContacts, init=False)
    _ping_order: PingOrder = field(factory=PingOrder, init=False)
    _neighbours: tuple[int, tuple[Contact, ...]] = field(default=(0, ()), init=False)
    """What `neighbours` returns, and the revision at which it was found."""
    _closest: tuple[int, int, list[Contact]] = field(default=(-1, 0, []), init=False)
    """The revision and the target of the last `closest`, and what it returned."""
    _held_by: tuple[int, int, list[Contact]] = field(default=(-1, 0, []), init=False)
    """The revision and the target of the last `holders`, and at least as many of them as were asked for."""

    def __attrs_post_init__(self) -> None:
        self._buckets = [KBucket(bucket_capacity(0))]

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._entries

    def holds(self, contact: Contact) -> bool:
        """Whether this node is in a bucket, at this address."""
        entry = self._entries.get(contact.node_id)
        return entry is not None and entry.contact.is_same(contact)

    def _depth_of(self, node_id: int) -> int:
        return min(shared_prefix(self.own_id, node_id), len(self._buckets) - 1)

    def _bucket_of(self, node_id: int) -> KBucket:
        return self._buckets[self._depth_of(node_id)]

    # Facts

    def confirmed(self, contact: Contact, now: float, rtt: float) -> None:
        """The contact answered a call of ours after `rtt` seconds."""
        node_id = contact.node_id
        entry = self._entries.get(node_id)
        if entry is not None and not entry.misses and entry.contact.address == contact.address:
            # Fast path: most calls go to responsive contacts, which stay where they are.
            self._answering += (1 - self._answering) / OUTAGE_CALLS
            entry.answered(contact, now, rtt)
            return
        if node_id == self.own_id:
            return
        bucket = self._bucket_of(node_id)
        while node_id not in self._entries and not bucket.has_room and self._split_last(bucket):
            bucket = self._bucket_of(node_id)
        self._answering += (1 - self._answering) / OUTAGE_CALLS
        if not self._may_be_in(bucket, contact):
            return
        if node_id in self._suspects:
            self._suspects.discard(node_id)
            self.revision += 1
        self._lost.confirmed(contact)
        newcomer = bucket.confirmed(contact, now, rtt, self.subnet_of(contact.address[0]))
        if newcomer is not None:
            self._entered(newcomer)

    def failed(self, contact: Contact, now: float) -> None:
        """A call to the contact was not answered."""
        node_id = contact.node_id
        entry = self._entries.get(node_id)
        is_new = entry is not None and entry.contact.is_same(contact) and node_id not in self._suspects
        if is_new:
            self._suspects.add(node_id)
            self.revision += 1
            self._answering -= self._answering / OUTAGE_CALLS
        left, entered = self._bucket_of(node_id).failed(contact, now, may_leave=not self.is_cut_off)
        if left is not None:
            self._left(left)
            self._lost.dropped(left.contact, now)
            self.losses += 1
        if entered is not None:
            self._entered(entered)
        if is_new:
            self.on_suspect()

    def _may_be_in(self, bucket: KBucket, contact: Contact) -> bool:
        """Whether the limits of its subnet allow the contact there, at this address."""
        subnet = self.subnet_of(contact.address[0])
        if subnet is None or bucket.contains(contact):
            return True
        if bucket.count_in(subnet) >= SUBNET_IN_BUCKET:
            return False
        return sum(bucket.count_in(subnet) for bucket in self._buckets) < SUBNET_IN_TABLE

    def disputed(self, key: int, now: float) -> None:
        """A contact takes this node for a holder of the key, and this one knows too many that are nearer:
        some of them may be dead."""
        self._ping_order.disputed(key, now)

    def looked_up(self, target: int, now: float) -> None:
        """A lookup for `target` has ended: its range is fresh."""
        self._bucket_of(target).last_lookup = now

    def _entered(self, entry: Entry) -> None:
        node_id = entry.contact.node_id
        self._entries[node_id] = entry
        self._ping_order.entered(entry)
        self._ids.add(node_id)
        self.changes += 1
        self.revision += 1

    def _left(self, entry: Entry) -> None:
        node_id = entry.contact.node_id
        del self._entries[node_id]
        self._ids.remove(node_id)
        self._suspects.discard(node_id)
        self.changes += 1
        self.revision += 1

    def _split_last(self, bucket: KBucket) -> bool:
        """Split the bucket of our own branch in two. Return False if `bucket` is another one.

        It has no replacements, because a bucket that can split rejects no contact.
        """
        depth = len(self._buckets) - 1
        if bucket is not self._buckets[-1]:
            return False
        near = KBucket(bucket_capacity(depth + 1), last_lookup=bucket.last_lookup)
        for node_id in [i for i in bucket.entries if shared_prefix(self.own_id, i) > depth]:
            near.add(bucket.remove(node_id))
        self._buckets.append(near)
        # Capacities shrink with depth, so the near part of a full bucket may exceed its own.
        if len(near.entries) > near.capacity:
            self._split_last(near)
            self._trim(near)
        return True

    def _trim(self, bucket: KBucket) -> None:
        """Move the newest entries to the replacement cache until the bucket is within its capacity."""
        while len(bucket.entries) > bucket.capacity:
            entry = bucket.remove(next(reversed(bucket.entries)))
            self._left(entry)
            if not entry.misses and len(bucket.replacements) < K:
                bucket.add_replacement(entry)

    # Questions

    def wants(self, contact: Contact) -> bool:
        """Whether an answer of this contact would bring it into a bucket, or end the suspicion against it."""
        node_id = contact.node_id
        if node_id in self._entries or node_id == self.own_id:
            return node_id in self._suspects
        bucket = self._bucket_of(node_id)
        return (bucket.has_room or bucket is self._buckets[-1]) and self._may_be_in(bucket, contact)

    def closest(self, target: int, count: int = K, live_only: bool = False) -> list[Contact]:
        """Return the `count` contacts nearest to `target`, nearest first.

        `live_only` leaves out contacts whose last call failed: other nodes must not hear of them from us.
        Without it, those of the last target are remembered: one operation asks for them several times.
        """
        if live_only:
            return self._find_closest(target, count, self._suspects)
        revision, last, known = self._closest
        if revision != self.revision or last != target or len(known) < count:
            known = self._find_closest(target, count, ())
            self._closest = self.revision, target, known
        return known[:count]

    def _find_closest(self, target: int, count: int, excluded: Collection[int]) -> list[Contact]:
        return [entry.contact for entry in self._nearest_entries(target, count, excluded)]

    def _nearest_entries(self, target: int, count: int, excluded: Collection[int]) -> list[Entry]:
        block = self._ids.block_around(target, count + len(excluded))
        block.sort(key=target.__xor__)
        if excluded:
            block = [node_id for node_id in block if node_id not in excluded]
        entries = self._entries
        return [entries[node_id] for node_id in block[:count]]

    def neighbours(self) -> tuple[Contact, ...]:
        """Return the NEIGHBOURS contacts nearest to this node itself, nearest first. They are remembered:
        every pass asks for them."""
        revision, known = self._neighbours
        if revision != self.revision:
            known = tuple(self.closest(self.own_id, NEIGHBOURS))
            self._neighbours = self.revision, known
        return known

    def holders(self, target: int, count: int) -> list[Contact]:
        """Return the `count` live contacts nearest to `target`, of each subnet no more than its quota.

        Those of the last target are remembered: one operation asks for them several times.
        """
        revision, last, chosen = self._held_by
        if revision != self.revision or last != target or len(chosen) < count:
            chosen = self._find_holders(target, max(count, REPLICATION))
            self._held_by = self.revision, target, chosen
        return chosen[:count]

    def _find_holders(self, target: int, count: int) -> list[Contact]:
        wanted = count
        while True:
            take_of = SubnetQuota(self.subnet_of).take_of
            nearest = self._nearest_entries(target, wanted, self._suspects)
            chosen = [entry.contact for entry in nearest if entry.subnet is None or take_of(entry.subnet)]
            if len(chosen) >= count or len(nearest) < wanted:
                return chosen[:count]
            wanted *= 2

    def reported(self, node_id: int, holds_values: bool) -> None:
        """A contact has reported whether it holds values."""
        if entry := self._entries.get(node_id):
            entry.holds_values = holds_values

    def serves_values(self, node_id: int) -> bool:
        """Whether this contact holds values, as far as is known."""
        return (entry := self._entries.get(node_id)) is None or entry.holds_values

    def is_settled(self, node_id: int) -> bool:
        """Whether this contact answered our last call, so that another answer would change nothing."""
        return node_id in self._entries and node_id not in self._suspects

    @property
    def suspect_count(self) -> int:
        """How many contacts did not answer our last call."""
        return len(self._suspects)

    def is_suspect(self, node_id: int) -> bool:
        """Whether the last call to this contact failed."""
        return node_id in self._suspects

    def has_live_contact(self) -> bool:
        """Whether any contact answered our last call to it."""
        return len(self._ids) > len(self._suspects)

    def usual_rtt(self, contacts: Iterable[Contact]) -> float:
        """Return the median of the shortest round trips to these contacts, in seconds; 0 where there are
        none in the table."""
        entries = self._entries
        rtts = sorted([entries[c.node_id].lowest_rtt for c in contacts if c.node_id in entries])
        return rtts[len(rtts) // 2] if rtts else 0.0

    @property
    def is_cut_off(self) -> bool:
        """Whether most calls fail, so that this node itself is probably cut off."""
        return self._answering <= 0.5

    def contacts(self) -> list[Contact]:
        """Return all contacts, those most likely to be alive first, to be saved for the next start."""
        likeliest = sorted(self._entries.values(), key=lambda e: (-e.misses, e.last_seen), reverse=True)
        return [entry.contact for entry in likeliest]

    def entries(self) -> list[Entry]:
        """Return what is known of all contacts, in no order."""
        return list(self._entries.values())

    def buckets(self) -> tuple[KBucket, ...]:
        """Return the k-buckets. Bucket i has the ids that share exactly i leading bits with ours; the last
        one has all others."""
        return tuple(self._buckets)

    def contacts_to_ping(self, now: float, spacing: float) -> list[Contact]:
        """Return the contacts to ping now, for a caller that asks every LIVENESS_INTERVAL.

        These are suspects that were left alone for SUSPECT_INTERVAL; of the k nearest to us, which hold what
        we hold, the one heard of longest ago; of all contacts those heard of longest ago, enough that each
        has its turn within about `spacing` seconds, and more when calls fail; those near a key in dispute;
        and some of those lost.
        """
        suspects = (self._entries[node_id] for node_id in self._suspects)
        to_ping = [entry for entry in suspects if now - entry.last_missed >= SUSPECT_INTERVAL][
            :SUSPECTS_AT_ONCE
        ]
        nearest = [self._entries[contact.node_id] for contact in self.neighbours()[:K]]
        responsive = (entry for entry in nearest if not entry.misses)
        oldest = min(responsive, key=attrgetter("last_seen"), default=None)
        to_ping += [oldest] if oldest is not None else []
        in_turn = 1 + int(len(self) * LIVENESS_INTERVAL / spacing)
        count = in_turn + round(PROBES_IN_DOUBT * (1 - self._answering))
        to_ping += self._ping_order.first(count, self._entries)
        key = self._ping_order.take_disputed()
        near = () if key is None else self.closest(key, 2 * K, live_only=True)
        asked_long_ago = (self._entries[contact.node_id] for contact in near)
        to_ping += [entry for entry in asked_long_ago if now - entry.last_seen >= DISPUTE_SPACING]
        return list(dict.fromkeys([*(entry.contact for entry in to_ping), *self._lost.take_next(now)]))

    def stale_targets(self, now: float, interval: float, rng: random.Random) -> list[int]:
        """Return one random id in each range that had no lookup for `interval` seconds.

        For the last range, which contains our own id, that id is returned as well: our neighbours matter
        most.
        """
        stale = [now - bucket.last_lookup >= interval for bucket in self._buckets]
        targets = [
            random_id_sharing(self.own_id, depth, rng) for depth, is_stale in enumerate(stale) if is_stale
        ]
        return [*targets, self.own_id] if stale[-1] else targets

    def far_targets(self, rng: random.Random) -> list[int]:
        """Return one random id in each range farther away than the closest neighbour (paper, section 2.3)."""
        if not self._ids:
            return []
        (neighbour,) = self.closest(self.own_id, 1)
        depths = min(shared_prefix(self.own_id, neighbour.node_id), ID_BITS - 1)
        return [random_id_sharing(self.own_id, depth, rng) for depth in range(depths)] or [random_id(rng)]

    def check_invariants(self) -> None:
        """Raise AssertionError if the table contradicts itself; for tests and the simulator."""
        held: dict[int, Entry] = {}
        per_subnet: Counter[Subnet | None] = Counter()
        for depth, bucket in enumerate(self._buckets):
            assert bucket.capacity == bucket_capacity(depth)
            assert len(bucket.entries) <= bucket.capacity and len(bucket.replacements) <= K
            assert not bucket.replacements or not bucket.has_room
            assert not any(replacement.misses for replacement in bucket.replacements.values())
            assert not bucket.entries.keys() & bucket.replacements.keys()
            for node_id, entry in [*bucket.entries.items(), *bucket.replacements.items()]:
                assert node_id == entry.contact.node_id != self.own_id
                assert self._depth_of(node_id) == depth
            held |= bucket.entries
            bucket.check_invariants()
            per_subnet += Counter(e.subnet for e in [*bucket.entries.values(), *bucket.replacements.values()])
        assert all(subnet is None or count <= SUBNET_IN_TABLE for subnet, count in per_subnet.items())
        assert held == self._entries and sorted(held) == self._ids.all()
        assert list(self.neighbours()) == self.closest(self.own_id, NEIGHBOURS)
        revision, target, nearest = self._closest
        assert revision != self.revision or nearest == self._find_closest(target, len(nearest), ())
        revision, target, holders = self._held_by
        assert revision != self.revision or holders == self._find_holders(target, len(holders))
        assert self._suspects == {node_id for node_id, entry in held.items() if entry.misses}
        assert 0 <= self._answering <= 1
