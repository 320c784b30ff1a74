"""The routing table: buckets that split along the node's own branch (paper, section 2.4).

Departures from the paper: only contacts that answered us are in it; the buckets of the far ranges are
wider (`parameters.BUCKET_WIDTHS`); the k closest are found by bisection over one sorted list of ids, so
that the answer is exact and costs microseconds whatever the number of contacts.
"""

import random
from bisect import bisect_left, insort

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.kbucket import Entry, KBucket
from dht14.kademlia.keyspace import ID_BITS, random_id, random_id_sharing, shared_prefix
from dht14.kademlia.parameters import BUCKET_WIDTHS, SUSPECT_INTERVAL, SUSPECTS_AT_ONCE, K


def bucket_capacity(depth: int) -> int:
    """Contacts that the bucket of ids sharing `depth` leading bits with ours may hold."""
    return K * (BUCKET_WIDTHS[depth] if depth < len(BUCKET_WIDTHS) else 1)


@define
class RoutingTable:
    """Every contact this node knows to be alive. Facts are told in the past tense."""

    own_id: int
    _buckets: list[KBucket] = field(init=False)
    """Bucket i holds the ids that share exactly i bits with ours; the last one holds all the rest."""
    _ids: list[int] = field(factory=list, init=False)
    """The ids of all entries of all buckets, sorted."""
    _suspects: set[int] = field(factory=set, init=False)
    """Ids of entries whose last call failed."""
    changes: int = field(default=0, init=False)
    """Grows with every contact that enters or leaves."""

    def __attrs_post_init__(self) -> None:
        self._buckets = [KBucket(bucket_capacity(0))]

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._bucket_of(node_id).entries

    def _depth_of(self, node_id: int) -> int:
        return min(shared_prefix(self.own_id, node_id), len(self._buckets) - 1)

    def _bucket_of(self, node_id: int) -> KBucket:
        return self._buckets[self._depth_of(node_id)]

    # Facts

    def confirmed(self, contact: Contact, now: float, rtt: float) -> None:
        """The contact answered a call of ours after `rtt` seconds."""
        node_id = contact.node_id
        if node_id == self.own_id:
            return
        bucket = self._bucket_of(node_id)
        while not bucket.has_room and node_id not in bucket.entries and self._split_last(bucket):
            bucket = self._bucket_of(node_id)
        self._suspects.discard(node_id)
        if bucket.confirmed(contact, now, rtt):
            self._entered(node_id)

    def failed(self, contact: Contact, now: float) -> None:
        """A call to the contact went unanswered."""
        bucket = self._bucket_of(contact.node_id)
        left, entered = bucket.failed(contact, now)
        if left is not None:
            self._left(left.contact.node_id)
        elif contact.node_id in bucket.entries:
            self._suspects.add(contact.node_id)
        if entered is not None:
            self._entered(entered.contact.node_id)

    def looked_up(self, target: int, now: float) -> None:
        """A lookup for `target` ended: its range is fresh."""
        self._bucket_of(target).last_lookup = now

    def _entered(self, node_id: int) -> None:
        insort(self._ids, node_id)
        self.changes += 1

    def _left(self, node_id: int) -> None:
        del self._ids[bisect_left(self._ids, node_id)]
        self._suspects.discard(node_id)
        self.changes += 1

    def _split_last(self, bucket: KBucket) -> bool:
        """Split the bucket of our own branch in two; False when `bucket` is another one."""
        depth = len(self._buckets) - 1
        if bucket is not self._buckets[-1] or depth == ID_BITS - 1:
            return False
        near = KBucket(bucket_capacity(depth + 1), last_lookup=bucket.last_lookup)
        for source, sink in ((bucket.entries, near.entries), (bucket.spares, near.spares)):
            for node_id in [i for i in source if shared_prefix(self.own_id, i) > depth]:
                sink[node_id] = source.pop(node_id)
        self._buckets.append(near)
        # Capacities shrink with depth, so the near part of a full bucket may already be too full.
        if len(near.entries) > near.capacity:
            self._split_last(near)
            self._trim(near)
        return True

    def _trim(self, bucket: KBucket) -> None:
        while len(bucket.entries) > bucket.capacity:
            node_id, entry = bucket.entries.popitem()
            self._left(node_id)
            if len(bucket.spares) < K:
                bucket.spares[node_id] = entry

    # Questions

    def wants(self, contact: Contact) -> bool:
        """Whether this contact, if it answered, would enter a bucket now."""
        node_id = contact.node_id
        if node_id == self.own_id:
            return False
        bucket = self._bucket_of(node_id)
        if node_id in bucket.entries:
            return False
        return bucket.has_room or bucket is self._buckets[-1]

    def closest(self, target: int, count: int = K, live_only: bool = False) -> list[Contact]:
        """The `count` contacts nearest to `target`, nearest first.

        `live_only` leaves out those whose last call failed: others shall not hear of them from us.
        """
        spoiled = self._suspects if live_only else ()
        block = self._block_around(target, count + len(spoiled))
        block.sort(key=target.__xor__)
        if spoiled:
            block = [node_id for node_id in block if node_id not in spoiled]
        return [self._entry(node_id).contact for node_id in block[:count]]

    def _block_around(self, target: int, count: int) -> list[int]:
        """The ids of the longest prefix of `target` that at least `count` known ids share.

        Ids that share more bits with the target are nearer than all that share fewer, so the block holds
        the `count` nearest.
        """
        ids, low, high = self._ids, 0, len(self._ids)
        shift = ID_BITS
        while high - low > count:
            shift -= 1
            prefix = target >> shift
            middle = bisect_left(ids, (prefix | 1) << shift, low, high)
            inner_low, inner_high = (middle, high) if prefix & 1 else (low, middle)
            if inner_high - inner_low < count:
                break
            low, high = inner_low, inner_high
        return ids[low:high]

    def knows_region(self, target: int, count: int) -> bool:
        """Whether the `count` nodes nearest to `target` are, as far as can be told from here, all known.

        True where no bucket that their region touches ever had to turn a contact away and a lookup has
        gone through each of them.
        """
        nearest = self.closest(target, count)
        if len(nearest) < count:
            touched = self._buckets
        else:
            region = shared_prefix(target, nearest[-1].node_id)
            ours = self._depth_of(target)
            touched = [self._buckets[ours]] if region > ours else self._buckets[region:]
        return all(bucket.has_room and bucket.last_lookup > float("-inf") for bucket in touched)

    def is_suspect(self, node_id: int) -> bool:
        """Whether the last call to this contact failed."""
        return node_id in self._suspects

    def has_live_contact(self) -> bool:
        """Whether any contact answered our last call to it."""
        return len(self._ids) > len(self._suspects)

    def contacts(self) -> list[Contact]:
        """All contacts, by bucket, those seen last first: what is worth keeping over a restart."""
        return [e.contact for b in self._buckets for e in reversed(b.entries.values())]

    def due_for_ping(self, now: float) -> list[Contact]:
        """The contacts to be pinged now: suspects left alone for a while, and the one heard of longest ago."""
        due = [
            entry.contact
            for entry in map(self._entry, self._suspects)
            if now - entry.last_missed >= SUSPECT_INTERVAL
        ][:SUSPECTS_AT_ONCE]
        heads = [entry for bucket in self._buckets if (entry := bucket.least_recently_seen())]
        if heads:
            oldest = min(heads, key=lambda entry: entry.last_seen).contact
            if oldest.node_id not in self._suspects:
                due.append(oldest)
        return due

    def _entry(self, node_id: int) -> Entry:
        return self._bucket_of(node_id).entries[node_id]

    def stale_targets(self, now: float, interval: float, rng: random.Random) -> list[int]:
        """One random id in each range that no lookup went through for `interval` seconds."""
        last = len(self._buckets) - 1
        return [
            random_id_sharing(self.own_id, depth, rng) if depth < last else self.own_id
            for depth, bucket in enumerate(self._buckets)
            if now - bucket.last_lookup >= interval
        ]

    def far_targets(self, rng: random.Random) -> list[int]:
        """One random id in each range farther away than the closest neighbour (paper, section 2.3)."""
        if not self._ids:
            return []
        (neighbour,) = self.closest(self.own_id, 1)
        depths = min(shared_prefix(self.own_id, neighbour.node_id), ID_BITS - 1)
        return [random_id_sharing(self.own_id, depth, rng) for depth in range(depths)] or [random_id(rng)]

    def check_invariants(self) -> None:
        """Raise AssertionError where the table contradicts itself; for tests and the simulator."""
        held: list[int] = []
        for depth, bucket in enumerate(self._buckets):
            assert bucket.capacity == bucket_capacity(depth)
            assert len(bucket.entries) <= bucket.capacity and len(bucket.spares) <= K
            assert not bucket.entries.keys() & bucket.spares.keys()
            for node_id, entry in [*bucket.entries.items(), *bucket.spares.items()]:
                assert node_id == entry.contact.node_id != self.own_id
                assert self._depth_of(node_id) == depth
            held += bucket.entries
        assert sorted(held) == self._ids
        assert self._suspects <= set(held)
