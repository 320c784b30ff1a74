import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import ID_SPACE, random_id
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import ALPHA, MAX_ASKED, MAX_UNANSWERED, K
from tests.kademlia.lookup_case import OWN, contacts, ids


class HostilePeersTests(SynchronousTestCase):
    """A peer that invents k ever nearer contacts in every answer, all of which it answers for itself."""

    def setUp(self) -> None:
        self.rng = random.Random(1)
        self.lookup = Lookup(0, OWN, width=8)
        self.lookup.heard_of(contacts(*(random_id(self.rng) for _ in range(K))))
        self.nearest = ID_SPACE

    def invented(self) -> list[Contact]:
        self.nearest >>= 1
        return contacts(*(self.rng.randrange(self.nearest, 2 * self.nearest) for _ in range(K)))

    def test_for_ever(self) -> None:
        """The lookup ends after MAX_ASKED contacts, and remembers no more than these can name."""
        while not self.lookup.finished:
            for one in self.lookup.take_next():
                self.lookup.answered(one, self.invented())
        self.assertEqual(self.lookup.candidates.asked_count, MAX_ASKED)
        self.assertLessEqual(sum(map(self.lookup.candidates.count, CandidateState)), K * (MAX_ASKED + 1))

    def test_silence(self) -> None:
        """Calls under way have a limit, however slow they all are; the lookup ends when all are silent."""
        out: list[Contact] = []
        most = 0
        for _ in range(1000):
            chosen = self.lookup.take_next()
            out += chosen
            most = max(most, len(out))
            if self.lookup.finished:
                break
            for one in chosen:
                self.lookup.slow(one)
                self.lookup.heard_of(self.invented())
            if not chosen:
                self.lookup.silent(out.pop(0))
        self.assertTrue(self.lookup.finished)
        self.assertEqual((most, self.lookup.candidates.asked_count), (MAX_UNANSWERED, MAX_ASKED))

    def test_wide_puts(self) -> None:
        """A put asks all its holders at once, though these are more than a lookup has out at other times."""
        lookup = Lookup(0, OWN, width=20, alpha=20)
        lookup.heard_of(contacts(*range(1, 30)))
        self.assertEqual(len(lookup.take_next()), 20)


class SimulatedNetwork:
    """A network as a dict: what each node would answer. A node not in `live` never answers, but is named
    still."""

    def __init__(self, seed: int, deaths: bool = True) -> None:
        self.rng = random.Random(seed)
        self.nodes = [random_id(self.rng) for _ in range(self.rng.choice([1, 2, 5, 30, 150]))]
        dead = self.rng.choice([0, 0.1, 0.3]) if deaths else 0
        self.live = {node_id for node_id in self.nodes if self.rng.random() >= dead}
        self.slow_share = self.rng.choice([0, 0.2])
        self.known = {node_id: self.table_of(node_id) for node_id in self.nodes}

    def table_of(self, own: int) -> list[int]:
        """What a Kademlia table would hold: the k nearest of all, and k of each range farther away."""
        near = sorted(self.nodes, key=own.__xor__)
        kept = near[1 : K + 1]
        ranges: dict[int, list[int]] = {}
        for node_id in near[K + 1 :]:
            ranges.setdefault((own ^ node_id).bit_length(), []).append(node_id)
        for members in ranges.values():
            kept += self.rng.sample(members, min(K, len(members)))
        return kept

    def answer(self, node_id: int, target: int) -> list[Contact]:
        return contacts(*sorted(self.known[node_id], key=target.__xor__)[:K])

    def run(self, lookup: Lookup) -> int:
        """Drive the lookup to its end, facts in random order; the most calls that held a slot at once."""
        out: dict[int, Contact] = {}
        slow: set[int] = set()
        silent: list[Contact] = []
        most = 0
        while True:
            out |= {one.node_id: one for one in lookup.take_next()}
            most = max(most, len(out.keys() - slow))
            if lookup.finished:
                return most
            if not out:
                lookup.failed(silent.pop())
                continue
            one = out[self.rng.choice(list(out))]
            if one.node_id not in slow and (
                one.node_id not in self.live or self.rng.random() < self.slow_share
            ):
                slow.add(one.node_id)
                lookup.slow(one)
                continue
            del out[one.node_id]
            if one.node_id in self.live:
                lookup.answered(one, self.answer(one.node_id, lookup.target))
            else:
                silent.append(one)
                lookup.silent(one)


class WholeNetworksTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.integers(0, 1 << 32), st.sampled_from([1, 3, 8, K]), st.booleans())
    def test_finds_the_nearest(self, seed: int, width: int, own_target: bool) -> None:
        """A thorough lookup finds exactly the nearest live nodes, from one live contact on, with α slots at
        most."""
        cluster = SimulatedNetwork(seed, deaths=width < K)
        own = cluster.rng.choice(cluster.nodes)
        target = own if own_target else random_id(cluster.rng)
        lookup = Lookup(target, own, width, thorough=True)
        lookup.heard_of(cluster.answer(own, target))
        most = cluster.run(lookup)
        expected = sorted(cluster.live - {own}, key=target.__xor__)[:width]
        self.assertEqual(ids(lookup.nearest()), expected)
        self.assertLessEqual(most, ALPHA)
        self.assertLess(lookup.candidates.asked_count, MAX_ASKED)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.integers(0, 1 << 32))
    def test_not_thorough(self, seed: int) -> None:
        """Any other lookup finds only live nodes, though not the nearest where these were slow."""
        cluster = SimulatedNetwork(seed)
        own, target = cluster.rng.choice(cluster.nodes), random_id(cluster.rng)
        lookup = Lookup(target, own, 8)
        lookup.heard_of(cluster.answer(own, target))
        cluster.run(lookup)
        met = set(ids(lookup.nearest()))
        self.assertLessEqual(met, cluster.live)
