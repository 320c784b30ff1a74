from itertools import count

from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HARD_TIMEOUT
from dht14.maintenance.repair import (
    MAX_LOOKS_WAITED,
    REPAIR_SECONDS,
    RESEND_WINDOW,
    SERVING_SECONDS,
    Repair,
)
from dht14.maintenance.turns import MAX_VAIN_OFFERS, OFFERS_TO_ONE
from dht14.node.resync_state import MAX_SERVES, SERVE_SPACING
from dht14.records.record import Record
from dht14.records.store import Refusal
from dht14.wire.inventory import MAX_ENTRIES
from dht14.wire.messages import Inventory, Offer, Refused, Reply, Request, Resync, Resynced
from tests.fakes import LATENCY, Answer, BulkBehaviour, FakeRpc, Peer
from tests.node.holders import HoldersTestCase


class RepairTests(HoldersTestCase):
    """Each node has repair; the holders of the key are 1, 2 and 3."""

    def setUp(self) -> None:
        super().setUp()
        self.repairs = {peer.contact.node_id: self.repair(peer) for peer in self.cluster}
        self.look()
        self.record_ = self.record()
        self.give(self.record_, *self.cluster[:3])
        self.asked(Offer)

    def repair(self, peer: Peer) -> Repair:
        assert peer.store is not None
        rpc = FakeRpc(self.network, peer.contact, peer.table, peer.time)
        return Repair(
            peer.table,
            peer.store,
            self.copies(peer),
            peer.republish_times,
            rpc,
            self.network.clock,
            peer.resync_state,
        )

    def look(self, times: int = 2) -> None:
        """Run a pass of each node, and another one that sees the same neighbours."""
        for _ in range(times):
            for peer in self.cluster:
                self.finish(self.repairs[peer.contact.node_id].one_pass())

    def leave(self, peer: Peer) -> None:
        """This node dies, and all others have noticed."""
        peer.fall_silent()
        self.cluster.remove(peer)
        for other in self.cluster:
            for turn in range(6):
                other.table.failed(peer.contact, self.network.clock.seconds() + 2 * turn)
            other.table.confirmed(self.cluster[0].contact, self.network.clock.seconds(), LATENCY)
            self.assertNotIn(peer.contact.node_id, other.table)

    def newcomer(self, node_id: int) -> Peer:
        peer = self.network.peer(node_id)
        self.cluster.append(peer)
        self.repairs[node_id] = self.repair(peer)
        self.network.acquaint(self.cluster)
        return peer

    def test_calm(self) -> None:
        """While the neighbours do not change nothing is sent."""
        self.look(5)
        self.assertEqual(self.asked(Offer), 0)

    def test_news(self) -> None:
        """There is news until a pass has found the neighbours unchanged, and again when the table changes."""
        repair = self.repairs[self.cluster[0].contact.node_id]
        self.look(MAX_LOOKS_WAITED + 1)
        self.assertFalse(repair.has_news())
        self.newcomer(0)
        for _ in range(2):
            self.assertTrue(repair.has_news())
            self.finish(repair.one_pass())
        self.finish(repair.one_pass())
        self.assertFalse(repair.has_news())

    def test_newcomer(self) -> None:
        """A newcomer that is nearer than a holder gets the record, from at most three holders."""
        self.newcomer(1 << 10)
        self.look()
        self.assertEqual(self.holders(self.record_), [1, 2, 3])
        self.newcomer(0)
        self.look()
        self.assertEqual(self.holders(self.record_), [1, 2, 3, 0])
        self.assertLessEqual(self.asked(Offer), 3)

    def test_death(self) -> None:
        """When a holder has died, the next nearest node replaces it."""
        self.leave(self.cluster[1])
        self.look()
        self.assertEqual(self.holders(self.record_), [1, 3, 4])

    def test_all_but_one(self) -> None:
        """When all holders but one have died, their number is restored."""
        self.leave(self.cluster[0])
        self.leave(self.cluster[0])
        self.look()
        self.assertEqual(self.holders(self.record_), [3, 4, 5])

    def test_noticed_late(self) -> None:
        """Holders die at once, and their deaths are noticed one after another, those of the nearest last: the
        copies of all are restored."""
        record = self.record(key=0, value=b"of five", later=1, copies=5)
        self.give(record, *self.cluster[:5])
        nearest = self.cluster[:3]
        for peer in nearest:
            peer.fall_silent()
            self.cluster.remove(peer)
        self.leave(self.cluster[1])
        self.look()
        for peer in nearest:
            self.cluster.append(peer)
            self.leave(peer)
        self.look()
        self.assertEqual(self.holders(record), [4, 6, 7, 8, 9])

    def test_subnets(self) -> None:
        """Two nodes of a subnet count: a dead holder is replaced by the next node of another subnet."""
        record = self.record(key=0, value=b"of six", later=1, copies=6)
        self.give(record, *self.cluster[:6])
        neighbourhood = {peer.contact.address[0] for peer in self.cluster[4:7]}
        for peer in self.cluster:
            peer.table.subnet_of = lambda host: b"one" if host in neighbourhood else None
        self.leave(self.cluster[0])
        self.look()
        self.assertEqual(self.holders(record), [2, 3, 4, 5, 6, 8])

    def test_restlessness(self) -> None:
        """Repair waits for a series of changes to end, but not for ever."""
        looks = 0
        for node_id in range(20, 20 + MAX_LOOKS_WAITED):
            self.newcomer(node_id)
            self.look(times=1)
        self.newcomer(0)
        self.assertEqual(self.asked(Offer), 0)
        while 0 not in self.holders(self.record_):
            self.look(times=1)
            looks += 1
        self.assertLessEqual(looks, 2)

    def test_return(self) -> None:
        """A node that starts with records of an earlier run offers them to all holders, and learns of
        newer ones."""
        newer = self.record(value=b"newer", later=1)
        self.give(newer, self.cluster[1])
        self.repairs[1] = self.repair(self.one)
        self.look()
        self.assertEqual(self.holders(newer), [1, 2])
        other = self.record(key=1, value=b"only here")
        self.give(other, self.cluster[8])
        self.repairs[9] = self.repair(self.cluster[8])
        self.look()
        self.assertEqual(self.holders(other), [1, 2, 3, 9])

    def test_reunion(self) -> None:
        """Two partitions that wrote the same key, and keys of their own, agree after they have met."""
        west, east = self.cluster, [self.network.peer(node_id) for node_id in range(100, 104)]
        self.network.acquaint(east)
        for peer in east:
            self.repairs[peer.contact.node_id] = self.repair(peer)
        self.cluster = east
        self.look()
        later, theirs = self.record(value=b"later", later=7), self.record(key=101, value=b"theirs")
        self.give(later, *east[:3])
        self.give(theirs, *east[:3])
        self.cluster = west + east
        self.network.acquaint(self.cluster)
        self.look()
        self.assertEqual(self.holders(later)[:3], [1, 2, 3])
        self.assertEqual(self.holders(self.record_), [])
        self.assertLessEqual({100, 101, 102}, set(self.holders(theirs)))

    def ignore(self, peer: Peer, kind: type[Request]) -> Answer:
        """Let a node answer no requests of this kind. Return how it answers otherwise."""
        answer = peer.answer
        peer.answer = lambda request, sender: None if isinstance(request, kind) else answer(request, sender)
        return answer

    def many(self, count: int) -> list[Record]:
        """Records of the nearest holders, 1, 2 and 3."""
        records = [self.record(value=b"%d" % n, key=n << 100) for n in range(1, count + 1)]
        for record in records:
            self.give(record, *self.cluster[:3])
        return records

    def resynced(self, asker: Peer) -> None:
        """A node asks for what it missed, and the others bring it."""
        for peer in self.cluster:
            if peer is not asker:
                peer.responder.answer(Resync(), asker.contact, self.network.clock.seconds(), lambda _: None)
        self.serve()

    def serve(self) -> None:
        """Let all nodes serve those that have asked for what they missed."""
        for peer in self.cluster:
            self.finish(self.repairs[peer.contact.node_id].serve_askers())
        self.network.wait(1)

    def test_missed(self) -> None:
        """A node that was away for a moment gets what it missed, and nothing that it holds."""
        self.many(300)
        newer = self.record(key=7 << 100, value=b"newer", later=1)
        unknown = self.record(key=1000 << 100, value=b"unknown")
        self.give(newer, *self.cluster[1:3])
        self.give(unknown, *self.cluster[1:3])
        self.resynced(self.one)
        self.assertEqual(self.holders(newer), [1, 2, 3])
        self.assertEqual(self.holders(unknown), [1, 2, 3])
        self.assertLessEqual(self.asked(Offer), 4)
        self.assertLessEqual(self.asked(Inventory), 2 * (300 // MAX_ENTRIES + 3))

    def test_served_newcomer(self) -> None:
        """A newcomer that has asked for what it missed is not offered the same once more as a newcomer."""
        records = self.many(30)
        newcomer = self.newcomer(0)
        self.resynced(newcomer)
        self.assertEqual([self.holders(record) for record in records], 30 * [[1, 2, 3, 0]])
        asked = len(newcomer.asked)
        self.look()
        self.assertEqual(len(newcomer.asked), asked)

    def test_opening(self) -> None:
        """A node whose database is being opened has nothing to bring yet: it tells nobody that this was
        all."""
        peer = self.cluster[1]
        repair = self.repairs[peer.contact.node_id]
        assert peer.store is not None
        self.patch(type(peer.store), "is_open", lambda store: False)
        peer.responder.answer(Resync(), self.one.contact, self.network.clock.seconds(), lambda _: None)
        self.assertFalse(repair.has_askers())
        self.newcomer(0)
        for _ in range(2 * MAX_LOOKS_WAITED):
            self.finish(repair.one_pass())
        self.patch(type(peer.store), "is_open", lambda store: True)
        self.assertEqual((repair.has_askers(), repair.has_news()), (True, True))

    def test_missed_by_another(self) -> None:
        """A node that was away may have the newer record: then the one that lists an older one gets it."""
        self.many(2)
        newer = self.record(key=1 << 100, value=b"newer", later=1)
        self.give(newer, self.one)
        self.resynced(self.one)
        self.assertEqual(self.holders(newer), [1, 2, 3])

    def test_silent_asker(self) -> None:
        """A node that answers no INVENTORY is offered everything."""
        newcomer = self.newcomer(0)
        records = self.many(30)
        self.ignore(newcomer, Inventory)
        self.look()
        self.assertEqual([self.holders(record) for record in records], 30 * [[1, 2, 3, 0]])

    def test_lost_offers(self) -> None:
        """A node that did not answer its offers has not got what it missed: nobody says so, and it is served
        again."""
        missed = self.record(key=1 << 100, value=b"missed", later=1)
        self.give(missed, *self.cluster[1:3])
        answer = self.ignore(self.one, Offer)
        self.resynced(self.one)
        self.assertEqual(self.holders(missed), [2, 3])
        self.assertEqual(self.asked(Resynced), len(self.cluster) - 3)
        self.one.answer = answer
        self.network.wait(SERVE_SPACING)
        self.serve()
        self.assertEqual(self.holders(missed), [1, 2, 3])
        self.assertEqual(self.asked(Resynced), 2)

    def test_moved(self) -> None:
        """What a node has missed is brought to the address from which it asked, though its old one, or a copy
        of it, answers too: it is not told that it has got all when another node has."""
        missed = self.record(key=1 << 100, value=b"missed", later=1)
        self.give(missed, *self.cluster[1:3])
        moved = self.network.peer(self.one.contact.node_id, address=("10.9.9.9", 8000))
        for peer in self.cluster[1:]:
            peer.responder.answer(Resync(), moved.contact, self.network.clock.seconds(), lambda _: None)
        self.serve()
        self.assertIn(Resynced(), moved.asked)
        assert moved.store is not None
        self.assertIsNotNone(moved.store.get(missed.key, self.network.clock.seconds()))
        self.assertEqual(self.holders(missed), [2, 3])

    def test_lost_word(self) -> None:
        """A node that was not reached by RESYNCED waits for it: it is served again, a few times at most."""
        self.ignore(self.one, Resynced)
        two = self.cluster[1]
        two.resync_state.requested(self.one.contact, self.network.clock.seconds())
        for turn in range(MAX_SERVES + 2):
            self.serve()
            self.assertEqual(self.asked(Resynced), turn < MAX_SERVES)
            self.network.wait(SERVE_SPACING)

    def test_successor_dies(self) -> None:
        """A node that was to take the place of a dead one, and died unnoticed, is replaced too."""
        successor = self.cluster[3]
        successor.fall_silent()
        self.cluster.remove(successor)
        self.leave(self.cluster[0])
        self.look()
        self.assertEqual(self.holders(self.record_), [2, 3])
        self.cluster.append(successor)
        self.leave(successor)
        self.look()
        self.assertEqual(self.holders(self.record_), [2, 3, 5])

    def test_holder_of_before(self) -> None:
        """A node that has a record of which others have become the holders does not wait for them when they
        die at once."""
        record = self.record(key=0, value=b"of three", later=1)
        self.give(record, self.cluster[3])
        for _ in range(3):
            self.leave(self.cluster[0])
        self.look()
        self.assertEqual(self.holders(record), [4, 5, 6])

    def test_knows_of_no_deaths(self) -> None:
        """A node that is a holder now, and does not know yet who has died, is offered the record again."""
        successor = self.cluster[3]
        answer = successor.answer
        successor.answer = lambda request, sender: (
            Refused((), Refusal.NOT_NEAR) if isinstance(request, Offer) else answer(request, sender)
        )
        self.leave(self.cluster[0])
        self.look()
        self.assertEqual(self.holders(self.record_), [2, 3])
        successor.answer = answer
        self.look(1)
        self.assertEqual(self.holders(self.record_), [2, 3, 4])

    def test_dies_during_repair(self) -> None:
        """A newcomer that falls silent is offered no more records. When it is back it gets them all."""
        records = self.many(100)
        newcomer = self.newcomer(0)
        answer = self.ignore(newcomer, Offer)
        self.look()
        self.assertLessEqual(self.asked(Offer), 3 * (OFFERS_TO_ONE + MAX_VAIN_OFFERS))
        newcomer.answer = answer
        self.look()
        self.assertEqual([self.holders(record) for record in records], 100 * [[1, 2, 3, 0]])

    def test_never_answers(self) -> None:
        """A neighbour that answers all but offers causes a few passes over the store, and no more."""
        self.ignore(self.newcomer(0), Offer)
        offers = []
        for _ in range(10):
            self.look(1)
            self.network.wait(HARD_TIMEOUT)
            self.network.acquaint(self.cluster)
            offers.append(self.asked(Offer))
        self.assertGreater(sum(offers), 0)
        self.assertEqual(sum(offers[2 + MAX_SERVES :]), 0)
        self.assertFalse(self.repairs[1].has_news())

    def test_unreachable_for_large_values(self) -> None:
        """A newcomer to whom no large value can be sent gets all small ones. Nobody tells it that it has
        got all."""
        large = [self.record(value=bytes(2000 + n), key=n << 90) for n in range(1, 31)]
        for record in large:
            self.give(record, *self.cluster[:3])
        small = self.many(30)
        newcomer = self.newcomer(0)
        newcomer.bulk = BulkBehaviour.CLOSED
        self.resynced(newcomer)
        self.assertEqual([self.holders(record) for record in small], 30 * [[1, 2, 3, 0]])
        self.assertEqual([self.holders(record) for record in large], 30 * [[1, 2, 3]])
        self.assertEqual(self.asked(Resynced), len(self.cluster) - 4)

    def test_lossy_network(self) -> None:
        """A newcomer gets all that it missed at once though one of 20 offers to it is lost."""
        records = self.many(600)
        newcomer, number = self.newcomer(0), count()
        answer = newcomer.answer

        def lossy(request: Request, sender: Contact) -> Reply | None:
            is_lost = isinstance(request, Offer) and next(number) % 20 == 0
            return None if is_lost else answer(request, sender)

        newcomer.answer, newcomer.latency = lossy, 0.2
        self.resynced(newcomer)
        self.assertEqual(self.asked(Resynced), len(self.cluster) - 1)
        self.assertEqual([self.holders(record) for record in records], 600 * [[1, 2, 3, 0]])

    def test_returns_unheard(self) -> None:
        """A node that starts with a record of an earlier run, and is no holder of it any more, offers it
        again to a holder that has not answered."""
        record = self.record(key=1, value=b"only here")
        self.give(record, self.cluster[8])
        answer = self.ignore(self.cluster[1], Offer)
        self.repairs[9] = self.repair(self.cluster[8])
        self.look()
        self.assertEqual(self.holders(record), [1, 3, 9])
        self.cluster[1].answer = answer
        self.look()
        self.assertEqual(self.holders(record), [1, 2, 3, 9])

    def test_refused_before(self) -> None:
        """A node that has refused records before is served all the same: it may have been stopping then."""
        missed = self.record(key=1 << 100, value=b"missed", later=1)
        self.give(missed, *self.cluster[1:3])
        answer = self.one.answer
        self.one.answer = lambda request, sender: (
            Refused((), Refusal.LEAVING) if isinstance(request, Offer) else answer(request, sender)
        )
        self.resynced(self.one)
        self.assertEqual(self.holders(missed), [2, 3])
        self.assertEqual(self.asked(Resynced), len(self.cluster) - 3)
        self.one.answer = answer
        self.network.wait(SERVE_SPACING)
        self.resynced(self.one)
        self.assertEqual(self.holders(missed), [1, 2, 3])
        self.assertEqual(self.asked(Resynced), len(self.cluster) - 1)

    def test_asks_again_meanwhile(self) -> None:
        """A node that has asked again while it was served is told only after its next turn: it may have been
        away again."""
        self.many(600)
        self.one.latency = 0.9
        two = self.cluster[1]
        two.resync_state.requested(self.one.contact, self.network.clock.seconds())
        serving = Deferred.fromCoroutine(self.repairs[2].serve_askers())
        self.network.wait(RESEND_WINDOW)
        two.resync_state.requested(self.one.contact, self.network.clock.seconds())
        self.network.seconds_until(serving)
        self.assertEqual(self.asked(Resynced), 0)
        self.network.wait(SERVE_SPACING)
        self.serve()
        self.assertEqual(self.asked(Resynced), 1)

    def until_resynced(self, asker: Peer) -> float:
        """Run until a node is told that it has got all; the seconds that took."""
        clock = self.network.clock
        began = clock.seconds()
        asker.asked.clear()
        self.assertTrue(
            clock.run_until_true(lambda: any(isinstance(r, Resynced) for r in asker.asked), began + 200)
        )
        return clock.seconds() - began

    def test_slow_asker(self) -> None:
        """A node that is slow to answer each offer holds up those that ask after it only until its turn is
        over. Then it gets the rest, and is told only after that."""
        records = self.many(1500)
        slow = self.newcomer(0)
        slow.latency = 0.45
        two = self.cluster[1]
        two.resync_state.requested(slow.contact, self.network.clock.seconds())
        serving = Deferred.fromCoroutine(self.repairs[2].serve_askers())
        self.network.wait(1)
        two.resync_state.requested(self.one.contact, self.network.clock.seconds())
        self.assertLess(self.until_resynced(self.one), 2 * SERVING_SECONDS + 3)
        self.assertNotIn(Resynced(), slow.asked)
        self.until_resynced(slow)
        self.assertEqual([self.holders(record) for record in records], 1500 * [[1, 2, 3, 0]])
        self.network.seconds_until(serving)

    def test_slow_alone(self) -> None:
        """A slow node that nobody waits for gets all in one turn."""
        records = self.many(800)
        slow = self.newcomer(0)
        slow.latency = 0.45
        self.resynced(slow)
        self.assertEqual([self.holders(record) for record in records], 800 * [[1, 2, 3, 0]])
        self.assertLessEqual(self.asked(Inventory), (len(self.cluster) - 1) * (800 // MAX_ENTRIES + 3))

    def test_slow_newcomer(self) -> None:
        """A newcomer that leaves most offers without an answer does not hold up the repair after a death for
        longer than its turn."""
        self.many(1500)
        slow, number = self.newcomer(0), count()
        answer = slow.answer
        slow.answer = lambda request, sender: (
            None if isinstance(request, Offer) and next(number) % 3 else answer(request, sender)
        )
        self.finish(self.repairs[1].one_pass())
        looking = Deferred.fromCoroutine(self.repairs[1].one_pass())
        self.network.wait(1)
        self.leave(self.cluster[4])
        self.network.wait(REPAIR_SECONDS - 10)
        self.assertLess(self.network.seconds_until(looking), 10 + 3)
