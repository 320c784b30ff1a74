from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import (
    BUSY_TURN,
    CONTENT_SPARES_NEAR,
    QUORUM,
    REPLICATION,
    SILENT_TIMEOUT_MAX,
    SOFT_TIMEOUT_UNKNOWN,
    SPARES_FAR,
    K,
)
from dht14.node.network_clock import TOLERANCE
from dht14.records.receipt import NoRecord
from dht14.records.record import Record, version_at
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import (
    MAX_VERSION,
    FindValue,
    Lapsed,
    Nodes,
    Outranked,
    Pong,
    Refused,
    Reply,
    Request,
    Store,
    Stored,
    Value,
)
from tests import fakes
from tests.fakes import Peer, contact
from tests.node.node_case import KEY, PROMISED, TTL, NodeTestCase, move_away
from tests.outcomes import value_of
from tests.owners import Owner


@define
class ReplacingStore(MemoryStore):
    """A store that replaces what it holds under one key, on a slow disk."""

    def is_replacing(self, record: Record) -> bool:
        return record.value == b"old"


class GetTests(NodeTestCase):
    """What a reader gets."""

    def test_quorum(self) -> None:
        """Three holders that agree are enough; hardly anybody else is asked."""
        peers = self.cluster(30)
        self.put(peers[25], b"value")
        for peer in peers:
            peer.asked.clear()
        self.assertEqual(self.get(peers[25]), b"value")
        self.assertLessEqual(self.asked(peers, FindValue), 4)

    def test_newest(self) -> None:
        """Of several values the newest one wins, though it is rarer."""
        peers = self.cluster(12)
        for age, peer in enumerate(peers[:REPLICATION]):
            self.give(peer, b"%d" % min(age, 4), age=1000 - min(age, 4))
        self.assertEqual(self.get(peers[11]), b"4")

    def test_own_copy(self) -> None:
        """The own copy counts as one holder's; alone it is the result if no other node has one."""
        peers = self.cluster(10)
        self.give(peers[0], b"value")
        self.assertEqual(self.get(peers[0]), b"value")
        for peer in peers[1:3]:
            peer.store.offer(peers[0].store.get(KEY, self.now), self.now, lambda verdict: None)  # type: ignore
        for peer in peers:
            peer.asked.clear()
        self.assertEqual(self.get(peers[0]), b"value")
        self.assertLessEqual(self.asked(peers, FindValue), 3)

    def test_own_copy_is_older(self) -> None:
        """The own copy gives way to a newer one elsewhere."""
        peers = self.cluster(10)
        self.give(peers[0], b"old", age=100)
        for peer in peers[1:8]:
            self.give(peer, b"new")
        self.assertEqual(self.get(peers[0]), b"new")

    def test_own_copy_replaced(self) -> None:
        """The own copy has no vote while a greater record waits for the own disk: others may have it
        already. It is the result where nobody else answers."""
        self.patch(fakes, "MemoryStore", ReplacingStore)
        peers = self.cluster(3)
        for peer, value, age in zip(peers, (b"old", b"old", b"new"), (100, 100, 0), strict=True):
            self.give(peer, value, age=age)
        reader, _, slow = peers
        slow.latency = 0.2
        self.assertEqual(self.get(reader), b"new")
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertEqual(self.get(reader), b"old")

    def test_own_copy_without_vote(self) -> None:
        """A node that has missed writes waits for a holder that is slow, as one does that has nothing, also
        where another answers that has missed writes too. Where nobody else answers it returns its own
        copy."""
        peers = reader, _, slow = self.cluster(3)
        for peer in peers[:2]:
            self.give(peer, b"old", age=100)
            peer.resync_state.lost_touch(self.now)
        self.give(slow, b"new")
        slow.latency = SILENT_TIMEOUT_MAX + 0.5
        self.assertEqual(self.get(reader), b"new")
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertEqual(self.get(reader), b"old")

    def test_content(self) -> None:
        """Content needs one holder, and none when it is here."""
        key = hash_id(b"content")
        peers = self.cluster(20)
        self.give(peers[0], b"content", key)
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertEqual(value_of(self.successResultOf(peers[0].node.get(key))), b"content")
        self.assertLess(self.network.seconds_until(peers[5].node.get(key)), PROMISED)
        self.assertEqual(self.get(peers[6], key), b"content")

    def test_known_content(self) -> None:
        """A get that knows that its key is content's asks one holder and one spare."""
        key = hash_id(b"content")
        peers = self.cluster(30)
        self.put(peers[25], b"content", key)
        reader = next(peer for peer in peers if not peer.store)
        for peer in peers:
            peer.asked.clear()
        found = self.network.result(reader.node.get(key, content=True))
        self.assertEqual(value_of(found), b"content")
        self.assertEqual(self.asked(peers, FindValue), 1 + CONTENT_SPARES_NEAR)

    def test_far(self) -> None:
        """A reader far from all others asks more contacts at once."""
        peers = self.cluster(30)
        self.put(peers[25], b"value")
        for peer in peers:
            peer.asked.clear()
        move_away(peers[25])
        self.assertEqual(self.get(peers[25]), b"value")
        self.assertEqual(self.asked(peers, FindValue), QUORUM + SPARES_FAR)

    def test_busy(self) -> None:
        """Where the work of this process decides how long a get takes, no spare is asked, of content nor of
        other values."""
        peers = self.cluster(30)
        content, reader = hash_id(b"content"), peers[25]
        self.put(reader, b"value")
        self.put(reader, b"content", content)
        reader.node._lookups._hedges._deadlines.turn = BUSY_TURN
        for key, is_content, asked in ((KEY, False, QUORUM), (content, True, 1)):
            for peer in peers:
                peer.asked.clear()
            self.network.result(reader.node.get(key, content=is_content))
            self.assertEqual(self.asked(peers, FindValue), asked)

    def test_overdue(self) -> None:
        """Where the first answer came at once, others stand in for dead holders long before they count as
        slow."""
        peers = self.cluster(30)
        self.put(peers[25], b"value")
        for peer in peers[:3]:
            peer.fall_silent()
        self.assertLess(self.network.seconds_until(peers[25].node.get(KEY)), SOFT_TIMEOUT_UNKNOWN)

    def test_alone(self) -> None:
        """A node alone finds what it holds, and nothing else, at once."""
        (peer,) = self.cluster(1)
        self.give(peer, b"value")
        self.assertEqual(value_of(self.successResultOf(peer.node.get(KEY))), b"value")
        self.assertIsNone(value_of(self.successResultOf(peer.node.get(KEY + 1))))

    def test_not_found(self) -> None:
        """Not found is said when the nearest nodes have answered, not before."""
        peers = self.cluster(20)
        self.assertIsNone(self.get(peers[15]))
        self.assertEqual([self.asked([peer], FindValue) for peer in peers[:REPLICATION]], [1] * REPLICATION)

    def test_cut_off(self) -> None:
        """A node to which nobody answers cannot know, and does not say "not found" when it is asked again."""
        for count in (3, 6, 20):
            self.setUp()
            peers = self.cluster(count)
            self.assertTrue(self.put(peers[0], b"value", replication=3))
            for peer in peers[:-1]:
                peer.fall_silent()
            for _ in range(2):
                found = self.network.result(peers[-1].node.get(KEY if count == 20 else KEY + 1))
                self.assertIs(found, NoRecord.UNANSWERED)

    def test_stopping(self) -> None:
        """A get that is under way when its node stops, so that all calls fail, ends with what most of the
        group have, or without an answer: not with the copy of this node, and not with "not found"."""
        peers = self.cluster(10)
        for peer in peers[1:]:
            self.give(peer, b"new")
        self.give(peers[0], b"old", age=60)
        answers = [peer.answer for peer in peers]
        for key, heard, expected in ((KEY, 10, b"new"), (KEY, 1, None), (KEY + 1, 4, None)):
            for peer, answer in zip(peers, answers, strict=True):
                peer.answer = answer
            for peer in peers[heard:]:
                peer.fall_silent()
            reading = peers[0].node.get(key)
            peers[0].node.lookups.is_stopping = True
            found = self.network.result(reading)
            self.assertEqual(value_of(found), expected)
            self.assertIs(found is NoRecord.UNANSWERED, expected is None)

    def test_slow_holders(self) -> None:
        """A value whose holders are all slow is found: its absence is not concluded from their slowness."""
        peers = self.cluster(20)
        self.put(peers[15], b"value")
        for peer in peers[:REPLICATION]:
            peer.latency = 0.9
        self.assertEqual(self.get(peers[15]), b"value")

    def test_dead_holders(self) -> None:
        """With all holders but one just dead, the value is found, and in little time."""
        peers = self.cluster(20)
        self.put(peers[15], b"value")
        for peer in peers[: REPLICATION - 1]:
            peer.fall_silent()
        got = peers[16].node.get(KEY)
        self.assertLess(self.network.seconds_until(got), 1.5)
        self.assertEqual(value_of(self.successResultOf(got)), b"value")

    def test_lapsed(self) -> None:
        """What was replaced does not come back, when what replaced it has expired, from one that has missed
        that: neither to those that read it there nor to itself."""
        peers = self.cluster(20)
        self.give(peers[8], b"old", age=60, ttl=TTL)
        self.assertTrue(self.put(peers[15], b"new", ttl=60))
        self.assertEqual(self.holders(peers, value=b"old"), [8])
        self.network.wait(61)
        for peer in peers:
            assert peer.store is not None
            peer.store.expire(self.now)
        peers[0].fall_silent()
        self.assertEqual([self.get(peer) for peer in peers[1:]], [None] * 19)
        self.assertTrue(self.put(peers[15], b"newest"))
        self.assertEqual([self.get(peer) for peer in peers[1:]], [b"newest"] * 19)

    def test_lapsed_for_some(self) -> None:
        """Where two say that a value has expired, one has it, and the rest of the group are silent, nobody
        knows. When they answer they decide."""
        peers = self.cluster(6)
        record = [self.give(peer, b"value") for peer in peers[:5]].pop()
        lapsed = Lapsed((), record.kind, record.version)
        answers = [peer.answer for peer in peers]
        for peer in peers[:2]:
            peer.answer = lambda request, sender: lapsed
        for peer in peers[3:5]:
            peer.answer = lambda request, sender: None
        self.assertIs(self.network.result(peers[5].node.get(KEY)), NoRecord.UNANSWERED)
        for peer, answer in zip(peers[3:5], answers[3:5], strict=True):
            peer.answer = answer
        self.assertEqual(self.get(peers[5]), b"value")

    def test_from_the_future(self) -> None:
        """A value with a version that no node can have accepted is ignored."""
        peers = self.cluster(20)
        self.put(peers[15], b"value")
        forged = Value(MAX_VERSION, 60_000, 8, True, b"forged")
        peers[0].answer = lambda request, sender: forged
        self.assertEqual([self.get(peer) for peer in peers[1:]], [b"value"] * 19)

    def test_own_from_the_future(self) -> None:
        """Also where this node has it: it wrote it when it did not know the time."""
        peers = self.cluster(20)
        self.put(peers[15], b"value")
        self.give(peers[0], b"of the future", age=-3 * TOLERANCE)
        self.assertEqual([self.get(peer) for peer in peers], [b"value"] * 20)
        self.give(peers[0], b"alone", KEY + 1, age=-3 * TOLERANCE)
        self.assertEqual([self.get(peer, KEY + 1) for peer in peers[:2]], [b"alone", None])

    def test_bootstrap_nodes(self) -> None:
        """Bootstrap nodes near the key do not hide the holders."""
        ids = sorted((random_id(self.rng) for _ in range(30)), key=KEY.__xor__)
        peers = [self.network.peer(node_id, holds_values=number >= 7) for number, node_id in enumerate(ids)]
        self.network.acquaint(peers)
        self.assertTrue(self.put(peers[29], b"value"))
        self.assertEqual({self.get(peer) for peer in peers}, {b"value"})

    def test_wrong_answers(self) -> None:
        """A node that sends another reply is no holder, and does not stop the read."""
        peers = self.cluster(20)
        self.put(peers[15], b"value")
        for peer, reply in zip(peers, (Pong(), Stored(()), Refused(()), Outranked(1, ())), strict=False):
            peer.answer = lambda request, sender, reply=reply: reply  # type: ignore[misc]
        self.assertEqual(self.get(peers[15]), b"value")


class TimeoutTests(NodeTestCase):
    """Whatever the peers do, a client has its answer in the time promised."""

    def setUp(self) -> None:
        super().setUp()
        self.bits = 250

    def cluster(self, count: int) -> list[Peer]:
        """Nodes that are all far from KEY, so that a put walks there first."""
        return self.network.cluster(*(self.rng.getrandbits(255) for _ in range(count)))

    def check(self, peer: Peer) -> None:
        operations: tuple[Callable[[], Deferred[Any]], ...] = (
            lambda: peer.node.put(KEY, b"value", TTL, 0),
            lambda: peer.node.put(KEY, b"new value", TTL, 20),
            lambda: peer.node.put(hash_id(b"content"), b"content", TTL, 0),
            lambda: peer.node.put(Owner(1).key, Owner(1).says(b"payload", 1), TTL, 0),
            lambda: peer.node.put(Owner(1).key, Owner(1).says(b"", 2, cas=1), TTL, 0),
            lambda: peer.node.get(KEY),
            lambda: peer.node.get(KEY + 1),
        )
        for operation in operations:
            outcome = operation()
            self.assertLessEqual(self.network.seconds_until(outcome), PROMISED)
            self.successResultOf(outcome)
        self.network.wait(10)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def nearer_and_nearer(self) -> tuple[Contact, ...]:
        """Contacts at empty addresses, nearer to the key than all before them."""
        self.bits = max(self.bits - 1, 60)
        near = [KEY ^ self.rng.getrandbits(self.bits) for _ in range(K)]
        return tuple(contact(node_id, 1000 + node_id % 50_000) for node_id in near)

    def test_silent(self) -> None:
        """All contacts are silent."""
        peers = self.cluster(30)
        for peer in peers[1:]:
            peer.fall_silent()
        self.check(peers[0])

    def test_just_in_time(self) -> None:
        """All contacts answer, each at the last moment that still counts."""
        peers = self.cluster(30)
        for peer in peers[1:]:
            peer.latency = 2.9
        self.check(peers[0])

    def hostile(self, answer: Callable[[Request, Contact], Reply | None], latency: float = 0.24) -> None:
        peers = self.cluster(30)
        self.network.unknown_peers, self.network.unknown_peers_latency = answer, latency
        for peer in peers[1:]:
            peer.answer, peer.latency = answer, latency
        self.check(peers[0])

    def test_nearer_for_ever(self) -> None:
        """Each node names a nearer one, which does the same, or does not answer."""
        for unknown_peers_answer in (True, False):

            def answer(request: Request, sender: Contact) -> Reply | None:
                return Nodes(self.nearer_and_nearer())

            self.setUp()
            peers = self.cluster(30)
            self.network.unknown_peers = answer if unknown_peers_answer else self.network.unknown_peers
            for peer in peers[1:]:
                peer.answer = answer
            self.check(peers[0])

    def test_refused_for_ever(self) -> None:
        """Each node refuses, and names another one."""
        self.hostile(
            lambda request, sender: (
                Refused(self.nearer_and_nearer())
                if isinstance(request, Store)
                else Nodes(self.nearer_and_nearer())
            )
        )

    def test_outranked_for_ever(self) -> None:
        """Each node always has a better record."""
        self.hostile(
            lambda request, sender: (
                Outranked(request.version + 1, self.nearer_and_nearer())
                if isinstance(request, Store)
                else Nodes(self.nearer_and_nearer())
            )
        )

    def test_anything(self) -> None:
        """Each node sends any reply at any time."""

        def anything(request: Request, sender: Contact) -> Reply | None:
            rng = self.rng
            named = self.nearer_and_nearer() if rng.random() < 0.5 else ()
            version = rng.choice((0, 1, version_at(self.now), version_at(self.now + 200), MAX_VERSION))
            value = Value(version, rng.randint(1, 10**8), rng.randint(1, 20), True, rng.randbytes(9))
            kinds = (
                None,
                Pong(),
                Nodes(named),
                Lapsed(named, rng.randint(1, 2), version),
                Stored(named),
                Refused(named),
                Outranked(version, named),
                value,
            )
            return rng.choice(kinds)

        for seed in range(12):
            self.setUp()
            self.rng.seed(seed)
            peers = self.cluster(25)
            self.network.unknown_peers = anything
            for peer in peers[1:]:
                peer.answer, peer.latency = anything, self.rng.choice((0.01, 0.3, 0.9, 2.5))
            self.check(peers[0])
