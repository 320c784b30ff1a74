from twisted.internet.defer import Deferred

from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import HARD_TIMEOUT, MISSES_TO_DROP
from dht14.maintenance.repair import Repair
from dht14.maintenance.resync import ResyncRequests
from dht14.wire.messages import Offer, Resync
from tests.fakes import LATENCY, FakeRpc, Peer
from tests.node.holders import HoldersTestCase


class ResyncTests(HoldersTestCase):
    """Node 1 comes back to the nodes 2 to 9, which kept running."""

    def setUp(self) -> None:
        super().setUp()
        self.repairs = [self.repair(peer) for peer in self.cluster]
        self.look()
        self.settled = True
        self.looks = 0
        """How often a node has looked up its neighbours."""
        self.resyncing = self.resync_of(self.one)

    def resync_of(self, peer: Peer) -> ResyncRequests:
        def look_around() -> Deferred[Lookup]:
            self.looks += 1
            return peer.node.find_nodes(peer.node.own_id)

        peer.resync_state.has_company = peer.table.has_live_contact
        return ResyncRequests(
            peer.resync_state,
            peer.table,
            self.rpc(peer),
            self.network.clock,
            lambda: self.settled,
            look_around,
        )

    def rpc(self, peer: Peer) -> FakeRpc:
        return FakeRpc(self.network, peer.contact, peer.table, peer.time)

    def repair(self, peer: Peer) -> Repair:
        assert peer.store is not None
        rpc, clock = self.rpc(peer), self.network.clock
        return Repair(
            peer.table, peer.store, self.copies(peer), peer.republish_times, rpc, clock, peer.resync_state
        )

    def look(self, times: int = 2) -> None:
        """Run repair at each node."""
        for _ in range(times):
            for repair in self.repairs:
                self.finish(repair.serve_askers())
                self.finish(repair.one_pass())
        self.network.wait(1)

    def test_missed(self) -> None:
        """A node that was away gets the writes that it missed, new keys and new values of old ones, and only
        then counts as current."""
        old, new, other = (
            self.record(),
            self.record(value=b"new", later=1),
            self.record(key=1, value=b"other"),
        )
        self.give(old, *self.cluster[:3])
        self.give(new, *self.cluster[1:4])
        self.give(other, *self.cluster[1:4])
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertFalse(self.one.resync_state.is_current)
        self.look(times=1)
        self.assertTrue(self.one.resync_state.is_current)
        self.assertIn(1, self.holders(new))
        self.assertIn(1, self.holders(other))

    def test_at_one_holder(self) -> None:
        """A record that only the third of the remaining holders has is offered too: a quorum may rest on
        it."""
        self.give(self.record(), *self.cluster[:3])
        new = self.record(value=b"new", later=1)
        self.give(new, self.cluster[3])
        self.resyncing.one_pass()
        self.network.wait(1)
        self.look(times=1)
        self.assertIn(1, self.holders(new))

    def test_not_settled(self) -> None:
        """It waits until it knows its neighbours."""
        self.settled = False
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual(self.asked(Resync), 0)
        self.settled = True
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual(self.asked(Resync), 8)

    def test_stood_still(self) -> None:
        """A node that stood still is not current until it has asked again, once; one that runs does not
        ask."""
        self.resyncing.one_pass()
        self.network.wait(1)
        self.look(times=1)
        self.assertTrue(self.one.resync_state.is_current)
        self.asked(Resync)
        for stood_still, expected in ((False, 0), (True, 8), (False, 0)):
            if stood_still:
                self.one.resync_state.stood_still(self.network.clock.seconds())
                self.assertFalse(self.one.resync_state.is_current)
            self.resyncing.one_pass()
            self.network.wait(1)
            self.assertEqual(self.asked(Resync), expected)

    def test_cut_off(self) -> None:
        """A node whose calls fail is not current from then on: its old copies must not be counted until it
        has asked for the writes that it missed."""
        table, now = self.one.table, self.network.clock.seconds
        self.one.resync_state.missed_writes((), now())
        for peer in self.cluster[1:]:
            table.failed(peer.contact, now())
        self.assertTrue(table.is_cut_off)
        self.resyncing.one_pass()
        self.assertFalse(self.one.resync_state.is_current)
        for _ in range(3):
            for peer in self.cluster[1:]:
                table.confirmed(peer.contact, now(), LATENCY)
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertFalse(self.one.resync_state.is_current)
        self.look(times=1)
        self.assertTrue(self.one.resync_state.is_current)

    def test_alone(self) -> None:
        """A node that is alone is current; when a contact comes it asks."""
        peer = self.network.peer(50)
        resyncing = self.resync_of(peer)
        resyncing.one_pass()
        self.assertTrue(peer.resync_state.is_current)
        peer.table.confirmed(self.one.contact, self.network.clock.seconds(), LATENCY)
        self.assertFalse(peer.resync_state.is_current, "before the next pass, too")
        resyncing.one_pass()
        self.assertFalse(peer.resync_state.is_current)
        self.network.wait(1)
        self.assertGreaterEqual(self.asked(Resync), 1)

    def test_met_while_away(self) -> None:
        """A node that stood still asks those, too, that joined meanwhile: its table does not have them, and
        they alone may have what it missed."""
        bootstrap = self.network.peer(60, holds_values=False)
        peer = self.network.peer(50)
        peer.table.confirmed(bootstrap.contact, self.network.clock.seconds(), LATENCY)
        resyncing = self.resync_of(peer)
        resyncing.one_pass()
        self.network.wait(1)
        self.assertTrue(peer.resync_state.is_current)
        self.assertEqual(self.looks, 0)
        for other in self.cluster:
            bootstrap.table.confirmed(other.contact, self.network.clock.seconds(), LATENCY)
        peer.resync_state.stood_still(self.network.clock.seconds())
        resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual((self.looks, peer.resync_state.is_current), (1, False))
        self.assertGreaterEqual(self.asked(Resync), 8)

    def test_none_answers(self) -> None:
        """A node is not current because its neighbours did not hear its RESYNC: it asks again."""
        peer, other = self.network.peer(50), self.cluster[0]
        peer.table.confirmed(other.contact, self.network.clock.seconds(), LATENCY)
        honest, other.answer = other.answer, lambda request, sender: None
        resyncing = self.resync_of(peer)
        resyncing.one_pass()
        self.network.wait(5)
        self.assertFalse(peer.resync_state.is_current)
        other.answer = honest
        peer.table.confirmed(other.contact, self.network.clock.seconds(), LATENCY)
        self.asked(Resync)
        resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual((self.asked(Resync), peer.resync_state.is_current), (1, False))

    def test_away_again(self) -> None:
        """Who did not hear the RESYNC before another absence is waited for all the same if it has heard the
        one after that."""
        two = self.cluster[1]
        honest, two.answer = two.answer, lambda request, sender: None
        self.resyncing.one_pass()
        self.network.wait(1)
        two.answer = honest
        self.one.resync_state.stood_still(self.network.clock.seconds())
        self.resyncing.one_pass()
        self.network.wait(1)
        for peer in self.cluster[2:]:
            self.one.resync_state.resynced(peer.contact.node_id)
        self.network.wait(HARD_TIMEOUT)
        self.assertFalse(self.one.resync_state.is_current)
        self.one.resync_state.resynced(two.contact.node_id)
        self.assertTrue(self.one.resync_state.is_current)

    def test_dead_or_without_values(self) -> None:
        """It does not wait for dead nodes, nor for nodes that hold no values."""
        bootstrap, dead = self.network.peer(60, holds_values=False), self.network.peer(61)
        dead.fall_silent()
        peer = self.network.peer(50)
        for other in (bootstrap, dead):
            peer.table.confirmed(other.contact, self.network.clock.seconds(), LATENCY)
        resyncing = self.resync_of(peer)
        for _ in range(2):
            resyncing.one_pass()
            self.assertFalse(peer.resync_state.is_current)
            self.network.wait(5)
        self.assertTrue(peer.resync_state.is_current)

    def test_dies_while_serving(self) -> None:
        """A node that dies after it has said that it goes through its records is not waited for. If all have
        died so, others are asked."""
        self.resyncing.one_pass()
        self.network.wait(1)
        for peer in self.cluster[2:]:
            self.one.resync_state.resynced(peer.contact.node_id)
        self.assertFalse(self.one.resync_state.is_current)
        self.drop(self.cluster[1], alive=self.cluster[2])
        self.resyncing.one_pass()
        self.assertTrue(self.one.resync_state.is_current)

        self.one.resync_state.stood_still(self.network.clock.seconds())
        self.resyncing.one_pass()
        self.network.wait(1)
        newcomer = self.network.peer(50)
        for peer in self.cluster[1:]:
            self.drop(peer, alive=newcomer)
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertFalse(self.one.resync_state.is_current)
        self.assertEqual([type(request) for request in newcomer.asked].count(Resync), 1)

    def drop(self, peer: Peer, alive: Peer) -> None:
        """Node 1 notices that this one is dead, and that the other one is alive."""
        for turn in range(MISSES_TO_DROP):
            self.one.table.failed(peer.contact, self.network.clock.seconds() + 2 * turn)
            self.one.table.confirmed(alive.contact, self.network.clock.seconds(), LATENCY)

    def test_all_at_once(self) -> None:
        """If all stood still at once, all become current again, and no record is offered twice to one
        node."""
        self.give(self.record(), *self.cluster[:3])
        resyncing = [self.resync_of(peer) for peer in self.cluster]
        self.asked(Offer)
        for one in resyncing:
            one.one_pass()
        self.network.wait(1)
        self.look(times=1)
        self.assertTrue(all(peer.resync_state.is_current for peer in self.cluster))
        self.assertEqual(self.holders(self.record()), [1, 2, 3])

    def test_just_resumed(self) -> None:
        """While a node that stood still throws away what was sent to it, it asks for nothing."""
        draining = True
        self.one.resync_state.stands_still = lambda: draining
        self.one.resync_state.stood_still(self.network.clock.seconds())
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual([self.looks, self.asked(Resync)], [0, 0])
        draining = False
        self.resyncing.one_pass()
        self.network.wait(1)
        self.assertEqual(self.asked(Resync), len(self.cluster) - 1)
