import gc
import itertools
import random
from collections.abc import Iterable
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.keyspace import shared_prefix
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import HARD_TIMEOUT, K
from dht14.node.join import (
    ALONE_INTERVAL,
    FAR_RANGES,
    FIRST_TRY_TIMEOUT,
    MAX_INTERVAL,
    SAVED_PER_TRY,
    Join,
    Retries,
)
from dht14.wire.messages import FindNode, Ping, Pong, Reply, Request
from tests.fakes import Answer, FakeNetwork, FakeRpc, Peer, contact, fields

OWN = 1 << 255
NOBODY = ("10.9.9.9", 9)
PORT = 8000


class RetriesTests(SynchronousTestCase):
    """How long to pause between tries."""

    def pauses(self, count: int, **options: float) -> list[float]:
        retries = Retries(**options)  # type: ignore[arg-type]
        return list(itertools.islice(retries.pauses(random.Random(1)), count))

    def test_quick_first(self) -> None:
        """So many pauses are exactly as configured."""
        self.assertEqual(self.pauses(3, interval=0.5, quick=3), [0.5] * 3)

    def test_doubling(self) -> None:
        """After them they double, less up to a fifth by chance, up to the longest, and never end."""
        pauses = self.pauses(30, interval=5, quick=2)[2:]
        for pause, full in zip(pauses, [10, 20, 40, 80, 160] + [MAX_INTERVAL] * 25, strict=False):
            self.assertTrue(0.8 * full <= pause <= full, (pause, full))
        self.assertGreater(len(set(pauses)), 20)

    def test_none_quick(self) -> None:
        """Without quick tries the pauses grow from the first."""
        self.assertGreaterEqual(self.pauses(1, interval=5, quick=0)[0], 8)


class JoinTestCase(SynchronousTestCase):
    """The node of id `OWN`, which joins a network that the test makes."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.own = self.network.peer(OWN)
        self.rng = random.Random(1)
        self.names: dict[str, list[Address] | None] = {}
        self.resolved: list[float] = []
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def resolve(self, host: str, port: int) -> "Deferred[list[Address]]":
        """Known names resolve at once, names that map to None never, others are addresses."""
        self.resolved.append(self.network.clock.seconds())
        found: Deferred[list[Address]] = Deferred()
        addresses = self.names.get(host, [(host, port)])
        if addresses is not None:
            found.callback(addresses)
        return found

    def start(
        self,
        *seeds: Seed,
        saved: Iterable[Contact] = (),
        retries: Retries | None = None,
    ) -> Join:
        network = self.network
        rpc = FakeRpc(network, self.own.contact, self.own.table, self.own.time)
        self.join = Join(
            node=self.own.node,
            rpc=rpc,
            resolve=self.resolve,
            clock=network.clock,
            rng=self.rng,
            seeds=seeds,
            saved=saved,
            retries=retries or Retries(),
        )
        self.join.startService()
        self.addCleanup(self.join.stopService)
        return self.join

    def cluster(self, count: int, *more: int) -> list[Peer]:
        """So many nodes that know each other."""
        return self.network.cluster(*(self.rng.getrandbits(255) for _ in range(count)), *more)

    def lines(self) -> list[str]:
        """What was said of joining, in short, since the last look."""
        said = []
        for event in self.events:
            if "contacts" in event:
                said.append("joined")
            elif event.get("log_source") is self.join:
                said.append("unresolved" if "host" in event else "alone")
        self.events.clear()
        return said

    @staticmethod
    def seed(peer: Peer, pinned: bool = False) -> Seed:
        return Seed(*peer.contact.address, peer.contact.node_id if pinned else None)


def near_only(answer: Answer, request: Request, sender: Contact) -> Reply | None:
    """Answer nothing about ranges other than that of OWN."""
    return None if isinstance(request, FindNode) and request.target != OWN else answer(request, sender)


class JoinTests(JoinTestCase):
    """The way into the network."""

    def test_memory(self) -> None:
        """A node that has joined keeps nothing of the lookups that this took."""

        def lookups() -> int:
            gc.collect()
            return sum(type(thing) is Lookup for thing in gc.get_objects())

        before = lookups()
        self.start(self.seed(self.cluster(30)[0]))
        self.network.wait(60)
        self.assertTrue(self.join.joined)
        self.assertEqual(lookups(), before)

    def test_joins(self) -> None:
        """Through one seed a node gets to know its network, and says once that it has joined."""
        cluster = self.cluster(12)
        self.start(self.seed(cluster[0]))
        self.network.wait(5)
        self.assertTrue(self.join.joined)
        self.assertEqual(len(self.own.table), 12)
        self.assertEqual(fields(self.events, "contacts"), [(12,)])
        self.network.wait(600)
        self.assertEqual(self.lines(), ["joined"])

    def test_first_try(self) -> None:
        """Through a seed that answers the first try is over when the own neighbourhood is known."""
        cluster = self.cluster(12)
        first = self.start(self.seed(cluster[0])).first_try
        self.assertNoResult(first)
        self.network.wait(FIRST_TRY_TIMEOUT - 0.5)
        self.successResultOf(first)
        self.assertGreater(len(self.own.table), 8)

    def test_first_try_alone(self) -> None:
        """Without any node to call it is over at once; if none answers, after at most 2 s."""
        self.successResultOf(self.start().first_try)
        self.names["never resolved"] = None
        for seed in (Seed(*NOBODY), Seed("never resolved", PORT)):
            self.own = self.network.peer(self.rng.getrandbits(255))
            first = self.start(seed).first_try
            self.network.wait(FIRST_TRY_TIMEOUT - 0.1)
            self.assertNoResult(first)
            self.network.wait(0.1)
            self.successResultOf(first)

    def test_first_try_stopped(self) -> None:
        """A join that is stopped before leaves nothing on the clock."""
        join = self.start(Seed(*NOBODY))
        join.stopService()
        self.network.wait(FIRST_TRY_TIMEOUT + 5)
        self.assertNoResult(join.first_try)

    def test_own_neighbourhood(self) -> None:
        """It looks up its own id, and then ids of the other ranges."""
        cluster = self.cluster(12)
        self.start(self.seed(cluster[0]))
        self.network.wait(5)
        targets = {r.target for peer in cluster for r in peer.asked if isinstance(r, FindNode)}
        self.assertIn(OWN, targets)
        self.assertGreater(len(targets), 1)

    def test_joined_early(self) -> None:
        """It has joined when it knows its neighbours, whatever becomes of the lookups in other ranges."""
        cluster = self.cluster(12)
        for peer in cluster:
            peer.answer = partial(near_only, peer.answer)
        self.start(self.seed(cluster[0]))
        self.network.wait(1)
        self.assertTrue(self.join.joined)
        self.network.wait(5)
        self.assertTrue(any(request != FindNode(OWN) for peer in cluster for request in peer.asked))

    def test_parallel(self) -> None:
        """All addresses of all seeds are called at once: one that answers is enough."""
        (living,) = self.cluster(1)
        self.names["many"] = [NOBODY, ("10.9.9.8", 9), living.contact.address]
        self.names["never resolved"] = None
        self.start(Seed(*NOBODY), Seed("never resolved", PORT), Seed("many", PORT))
        self.network.wait(0.5)
        self.assertTrue(self.join.joined)

    def test_all_seeds(self) -> None:
        """A seed that answers later than the first becomes a contact too."""
        one, two = self.network.peer(1), self.network.peer(2)
        two.latency = 1.0
        self.start(self.seed(one), self.seed(two))
        self.network.wait(3)
        self.assertIn(two.contact.node_id, self.own.table)

    def test_self_among_seeds(self) -> None:
        """A node that is its own seed skips itself, and does not call itself a second time."""
        (other,) = self.cluster(1)
        self.start(self.seed(self.own), self.seed(other))
        self.network.wait(5)
        self.assertEqual((self.join.joined, len(self.own.table)), (True, 1))
        self.network.wait(600)
        self.assertEqual(len(self.own.asked), 1)

    def test_self_pinned_among_seeds(self) -> None:
        """So does one that is pinned among its seeds: it waits for the others, and never calls itself."""
        (other,) = self.cluster(1)
        other.latency = 0.2
        self.start(self.seed(self.own, pinned=True), self.seed(other, pinned=True))
        self.network.wait(4)
        self.assertEqual(self.lines(), ["joined"])
        self.assertEqual(self.own.asked, [])

    def test_only_self(self) -> None:
        """A node with no other seed than itself is alone."""
        for pinned in (False, True):
            self.start(self.seed(self.own, pinned))
            self.network.wait(30)
            self.assertEqual((self.lines(), self.join.joined), (["alone"], False))

    def test_pinned(self) -> None:
        """At the address of a pinned seed no other node counts."""
        (other,) = self.cluster(1)
        self.start(Seed(*other.contact.address, other.contact.node_id + 1))
        self.network.wait(30)
        self.assertFalse(self.join.joined)
        self.start(self.seed(other, pinned=True))
        self.network.wait(1)
        self.assertTrue(self.join.joined)

    def test_saved(self) -> None:
        """Saved contacts alone lead back into the network."""
        cluster = self.cluster(5)
        self.start(saved=[contact(7, 999), cluster[0].contact])
        self.network.wait(5)
        self.assertEqual((self.join.joined, len(self.own.table)), (True, 5))

    def test_many_saved(self) -> None:
        """They are called some at a time, and all get their turn, however many of them are gone."""
        (last,) = self.cluster(1)
        gone = [contact(1000 + number, 1000 + number) for number in range(3 * SAVED_PER_TRY)]
        self.start(saved=[*gone, last.contact])
        self.network.wait(4 * ALONE_INTERVAL)
        self.assertTrue(self.join.joined)

    def test_wrong_answer(self) -> None:
        """A seed that answers, but not the question, is a contact all the same."""
        (other,) = self.cluster(1)
        other.answer = lambda request, sender: Pong()
        self.start(self.seed(other))
        self.network.wait(20)
        self.assertEqual((self.join.joined, len(self.own.table)), (True, 1))

    def test_far_ranges(self) -> None:
        """After the own id, an id is looked up in each range that reaches beyond the k nodes found, and in no
        other: the first lookup has found all nodes there, and these ranges are fresh."""
        ids = [self.rng.getrandbits(256) for _ in range(200)]
        cluster = self.cluster(0, *ids)
        self.start(self.seed(cluster[0]))
        self.network.wait(5)
        depths = {
            shared_prefix(OWN, request.target)
            for peer in cluster
            for request in peer.asked
            if isinstance(request, FindNode) and request.target != OWN
        }
        nearest = sorted(ids, key=OWN.__xor__)[:K]
        self.assertEqual(depths, set(range(shared_prefix(OWN, nearest[-1]) + 1)))
        self.assertGreater(shared_prefix(OWN, nearest[0]), max(depths) + 2)
        self.assertTrue(all(node_id in self.own.table for node_id in nearest))
        now = self.network.clock.seconds()
        self.assertEqual(self.own.table.stale_targets(now, 60.0, self.rng), [])

    def test_made_up_neighbour(self) -> None:
        """A neighbour whose id is made up to be near ours does not keep us busy for long."""
        neighbour = self.network.peer(OWN ^ 1)
        self.start(self.seed(neighbour))
        self.network.wait(4)
        self.assertTrue(self.join.joined)
        self.assertLessEqual(len(neighbour.asked), 2 + FAR_RANGES)


class AloneTests(JoinTestCase):
    """No other node is there: not yet, or not any more."""

    def calls(self, seconds: float) -> list[float]:
        """The times of all calls of the seed in the next `seconds`."""
        self.names["seed"] = []
        began = self.network.clock.seconds()
        self.resolved.clear()
        self.network.wait(seconds)
        return [when - began for when in self.resolved]

    def test_first(self) -> None:
        """The first node of a network says once that it is alone, and why."""
        self.start()
        self.network.wait(600)
        self.assertEqual(self.lines(), ["alone"])
        self.assertFalse(self.join.joined)

    def test_dead_seeds(self) -> None:
        """With dead seeds it says so once, with their number, and tries on for ever."""
        self.start(Seed(*NOBODY), Seed("10.9.9.8", 9), saved=[contact(5, 555)])
        self.network.wait(3600)
        self.assertEqual(fields(self.events, "seeds", "saved"), [(2, 1)])
        self.assertGreaterEqual(len(self.resolved), 2 * 3600 / ALONE_INTERVAL)

    def test_unresolved(self) -> None:
        """A name without an address is said once, by that name, and looked up again and again."""
        self.names["seed"] = []
        self.start(Seed("seed", PORT))
        self.network.wait(100)
        self.assertEqual(fields(self.events, "host"), [("seed",)])
        self.assertGreaterEqual(len(self.resolved), 10)

    def test_name_lost(self) -> None:
        """A seed whose name has no address any more is called where it was."""
        (seed,) = self.cluster(1)
        self.names["seed"] = [seed.contact.address]
        answer = seed.answer
        seed.fall_silent()
        self.start(Seed("seed", PORT))
        self.network.wait(30)
        self.names["seed"] = []
        self.network.wait(30)
        self.assertFalse(self.join.joined)
        seed.answer = answer
        self.network.wait(15)
        self.assertTrue(self.join.joined)
        self.assertEqual(fields(self.events, "host"), [])

    def test_quick_tries(self) -> None:
        """The first tries are as far apart as configured, whatever a try takes."""
        self.names["seed"] = []
        self.start(Seed("seed", PORT), Seed(*NOBODY), retries=Retries(interval=4, quick=3))
        tries = self.calls(13)
        for when, expected in zip(tries[::2], (4, 8, 12), strict=True):
            self.assertAlmostEqual(when, expected, delta=0.1)

    def test_every_ten_seconds(self) -> None:
        """While no other node is there, at most ten seconds lie between two tries."""
        self.start(Seed("seed", PORT), Seed(*NOBODY), retries=Retries(interval=60, quick=0))
        tries = self.calls(600)
        gaps = [after - before for before, after in itertools.pairwise(tries)]
        self.assertLessEqual(max(gaps), ALONE_INTERVAL + 0.1)

    def test_seed_appears(self) -> None:
        """It joins within 15 seconds after a seed has come up, and says so."""
        self.names["seed"] = []
        self.start(Seed("seed", PORT))
        self.network.wait(333)
        self.assertEqual(self.lines(), ["unresolved", "alone"])
        (seed,) = self.cluster(1)
        self.names["seed"] = [seed.contact.address]
        self.network.wait(15)
        self.assertEqual(self.lines(), ["joined"])

    def test_all_gone(self) -> None:
        """When all contacts are gone it logs that once, and joins again when one is back."""
        cluster = self.cluster(3)
        self.start(self.seed(cluster[0]))
        self.network.wait(100)
        answers = [peer.answer for peer in cluster]
        for peer in cluster:
            peer.fall_silent()
        for peer in cluster:
            self.own.table.failed(peer.contact, self.network.clock.seconds())
        self.network.wait(60)
        self.assertEqual(self.lines(), ["joined", "alone"])
        self.assertFalse(self.join.joined)
        for peer, answer in zip(cluster, answers, strict=True):
            peer.answer = answer
        self.network.wait(15)
        self.assertEqual(self.lines(), ["joined"])

    def test_quick_again(self) -> None:
        """The tries that come then are quick ones again."""
        (other,) = self.cluster(1)
        self.start(self.seed(other), Seed("seed", PORT), retries=Retries(interval=4, quick=3))
        self.network.wait(1000)
        other.fall_silent()
        self.own.table.failed(other.contact, self.network.clock.seconds())
        tries = self.calls(3 * ALONE_INTERVAL)
        gaps = [round(after - before, 3) for before, after in itertools.pairwise(tries)]
        self.assertIn(4.0, gaps)

    def test_networks_meet(self) -> None:
        """A node that has contacts goes on calling its seeds: networks that grew apart find each other."""
        here, there = self.cluster(1), self.cluster(1)
        self.names["there"] = []
        self.start(self.seed(here[0]), Seed("there", PORT))
        self.network.wait(1000)
        self.names["there"] = [there[0].contact.address]
        self.network.wait(MAX_INTERVAL + 10)
        self.assertIn(there[0].contact.node_id, self.own.table)

    def test_others_come(self) -> None:
        """The first node of a network has joined when others came to it, at the latest ten seconds later."""
        (other,) = self.cluster(1)
        self.start(retries=Retries(interval=5, quick=2))
        self.network.wait(7)
        rpc = FakeRpc(self.network, self.own.contact, self.own.table, self.own.time)
        rpc.ask(other.contact, Ping())
        self.network.wait(ALONE_INTERVAL)
        self.assertEqual(self.lines(), ["alone", "joined"])


class StopTests(JoinTestCase):
    def test_any_moment(self) -> None:
        """Stopped at any moment, it makes no further call, says nothing more, and leaves no timer of its
        own."""
        moments = [0.005 * number for number in range(20)]
        for moment in (*moments, 0.5, 2.0, HARD_TIMEOUT + 0.1, 8.0, 30.0):
            for dead in (False, True):
                self.setUp()
                cluster = self.cluster(4)
                if dead:
                    for peer in cluster:
                        peer.fall_silent()
                self.names["never resolved"] = None
                join = self.start(
                    self.seed(cluster[0]), Seed("never resolved", PORT), saved=[cluster[1].contact]
                )
                self.network.wait(moment)
                join.stopService()
                self.lines()
                for peer in cluster:
                    peer.asked.clear()
                self.network.wait(1000)
                self.assertEqual(self.lines(), [])
                self.assertEqual([peer.asked for peer in cluster], [[]] * 4)
                self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_bug(self) -> None:
        """A bug in joining is logged as one; it does not go by unheard."""
        (other,) = self.cluster(1)
        self.rng = cast(random.Random, None)
        self.start(self.seed(other))
        self.network.wait(1)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
