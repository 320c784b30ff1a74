from dht14.kademlia.parameters import LIVENESS_INTERVAL, SUSPECT_INTERVAL
from dht14.maintenance.liveness import PAUSE_IN_DOUBT, Liveness
from dht14.wire.messages import Ping
from tests.fakes import FakeRpc, Peer
from tests.maintenance.case import MaintenanceTestCase

INTERVAL = 900.0


class LivenessTests(MaintenanceTestCase):
    def check(self, peer: Peer | None = None) -> None:
        peer = peer or self.one
        rpc = FakeRpc(self.network, peer.contact, peer.table, peer.time)
        Liveness(peer.table, rpc, self.network.clock, 3600.0).one_pass()
        self.network.wait(LIVENESS_INTERVAL)

    def test_in_turn(self) -> None:
        """Each pass pings the contact heard of longest ago: all of them in turn."""
        self.network.wait(60)
        counts = [0, 0, 0]
        for _ in range(3):
            self.check()
            counts = list(map(sum, zip(counts, self.asked(Ping), strict=True)))
        self.assertEqual((min(counts), sum(counts) <= 6), (1, True))

    def test_dead(self) -> None:
        """A dead contact is found; it is pinged again, but not in every pass, and not forgotten at once."""
        dead = self.others[0]
        dead.fall_silent()
        self.network.wait(60)
        for _ in range(3):
            self.check()
        self.assertTrue(self.one.table.is_suspect(dead.contact.node_id))
        self.assertIn(dead.contact.node_id, self.one.table)
        self.network.wait(SUSPECT_INTERVAL)
        self.asked(Ping)
        self.check()
        self.assertEqual(self.asked(Ping)[0], 1)

    def test_pause(self) -> None:
        """Contacts that do not answer, one alone not, start another pass once the last one has shown who is
        alive."""
        rpc = FakeRpc(self.network, self.one.contact, self.one.table, self.one.time)
        liveness = Liveness(self.one.table, rpc, self.network.clock, 3600.0)
        self.network.wait(60)
        for peer, starts in zip(self.others, (False, True), strict=False):
            self.one.table.failed(peer.contact, self.network.clock.seconds())
            self.assertEqual(liveness.needs_pass(), starts)
        liveness.one_pass()
        self.network.wait(PAUSE_IN_DOUBT - 0.01)
        self.assertFalse(liveness.needs_pass())
        self.network.wait(0.02)
        self.assertTrue(liveness.needs_pass())

    def test_back(self) -> None:
        """A contact that is back is trusted again."""
        away = self.others[0]
        answer = away.answer
        away.fall_silent()
        self.network.wait(60)
        for _ in range(3):
            self.check()
        away.answer = answer
        self.network.wait(SUSPECT_INTERVAL)
        self.check()
        self.assertFalse(self.one.table.is_suspect(away.contact.node_id))

    def test_all_dead(self) -> None:
        """A node that no other node calls finds within a minute that all its contacts are dead, however
        many."""
        crowd = [self.network.peer(node_id << 200) for node_id in range(1, 301)]
        self.network.acquaint([self.one, *crowd])
        for peer in (*crowd, *self.others):
            peer.fall_silent()
        rpc = FakeRpc(self.network, self.one.contact, self.one.table, self.one.time)
        liveness = Liveness(self.one.table, rpc, self.network.clock, 3600.0)
        self.assertGreater(len(self.one.table), 200)
        for _ in range(int(60 / LIVENESS_INTERVAL)):
            liveness.one_pass()
            self.network.wait(LIVENESS_INTERVAL)
        self.assertFalse(self.one.table.has_live_contact())

    def test_quiet(self) -> None:
        """If all is well, a pass of a node with 300 contacts sends two PINGs."""
        crowd = [self.network.peer(node_id << 200) for node_id in range(1, 301)]
        self.network.acquaint([self.one, *crowd])
        liveness = Liveness(
            self.one.table,
            FakeRpc(self.network, self.one.contact, self.one.table, self.one.time),
            self.network.clock,
            3600.0,
        )
        for _ in range(10):
            liveness.one_pass()
            self.network.wait(LIVENESS_INTERVAL)
        self.assertLessEqual(sum(len(peer.asked) for peer in crowd) + sum(self.asked(Ping)), 20)

    def test_repair_interval(self) -> None:
        """The more contacts are lost, the shorter the interval of repair."""
        rpc = FakeRpc(self.network, self.one.contact, self.one.table, self.one.time)
        liveness = Liveness(self.one.table, rpc, self.network.clock, 3600.0)
        self.assertEqual(liveness.repair_interval(), 3600.0)
        self.network.wait(600)
        self.one.table.losses += 30
        liveness.one_pass()
        self.assertLess(liveness.repair_interval(), 300.0)

    def test_alone(self) -> None:
        """A node without contacts pings none."""
        self.check(self.network.peer(99))
        self.assertEqual(self.flushLoggedErrors(), [])
