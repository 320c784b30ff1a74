import random
from collections.abc import Iterable

from twisted.logger import capturedLogs

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import (
    HARD_TIMEOUT,
    SOFT_TIMEOUT_UNKNOWN,
)
from dht14.net.rpc.probe import MAX_PROBES, RETURN_PATH_LIFETIME
from dht14.net.rpc.standstill import STANDSTILL
from dht14.records.store import Refusal
from dht14.session.plaintext import PROBE, PROBE_REPLY
from dht14.wire.datagram import encode
from dht14.wire.messages import FindNode, Nodes, Ping, Pong, Refused, Store, Stored
from tests.fakes import address_of, contact, contact_at, fields
from tests.net.rpc.case import OTHER, OWN, PEER, TOLERANCE, RpcTestCase, datagram_of

FULL = Refused((), Refusal.NO_ROOM)


class RequestTests(RpcTestCase):
    """Requests of other nodes."""

    def probed(self) -> list[Address]:
        """The addresses of probes."""
        return [address for _, address in self.probe_wire.sent]

    def answer_probe(self, contact: Contact = PEER) -> None:
        """The contact answers the latest probe."""
        question = self.probe_wire.sent[-1][0]
        self.assertEqual(question[:1], PROBE)
        self.probe.datagramReceived(PROBE_REPLY + contact.proof + question[-8:], contact.address)

    def test_answered(self) -> None:
        """A request is answered with its own id, to the address that it came from."""
        self.get_to_know(PEER, OTHER)
        self.pass_time(1)
        self.wire.sent.clear()
        self.receive(b"12345678", FindNode(0))
        self.assertEqual(self.messages(), [(Nodes((OTHER,)), PEER.address)])
        self.assertEqual(self.last_rpc_id(), b"12345678")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_proves_nothing(self) -> None:
        """A node that sends a request is answered and probed; it becomes a contact when it answers the
        probe."""
        self.receive(b"12345678", Ping())
        self.assertEqual((self.messages(), self.probed()), ([(Pong(), PEER.address)], [PEER.address]))
        self.assertEqual(len(self.table), 0)
        self.answer_probe()
        self.assertIn(PEER.node_id, self.table)

    def test_answer_through_a_hole(self) -> None:
        """A node that has called first does not become a contact by a reply: only its own call may have
        opened the way. It is probed. Later, when that way must have closed, a reply is enough."""
        self.receive(b"12345678", Ping())
        self.pass_time(61)
        self.probe_wire.sent.clear()
        self.get_to_know(PEER)
        self.assertEqual((len(self.table), self.probed()), (0, [PEER.address]))
        self.clock.advance(RETURN_PATH_LIFETIME)
        self.get_to_know(PEER)
        self.assertIn(PEER.node_id, self.table)

    def test_named_address(self) -> None:
        """A node that answers at an address of the operator becomes a contact, even if it has called
        before."""
        self.receive(b"12345678", Ping())
        self.rpc.ask_address(PEER.address, Ping())
        self.receive(self.last_rpc_id(), Pong())
        self.assertIn(PEER.node_id, self.table)

    def test_not_a_reply(self) -> None:
        """A request with the id of a pending call does not answer it."""
        rpc_id = self.call()
        self.receive(rpc_id, Ping())
        self.assertEqual(self.observer.facts, [])

    def test_known(self) -> None:
        """A contact that sends a request is not probed; nor is a node with the own id."""
        self.get_to_know(PEER)
        self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), contact_at(OWN, OTHER.address))
        self.assertEqual(self.probed(), [])

    def test_flood_of_unknown_peers(self) -> None:
        """Each of many unknown callers is probed once, and few probes are under way at a time: the node does
        not send more than it receives."""
        unknown_peers = [contact(number, number) for number in range(1, 101)]
        for unknown_peer in unknown_peers:
            self.receive(b"12345678", Ping(), unknown_peer)
            self.receive(b"12345678", Ping(), unknown_peer)
        self.assertEqual(self.probed(), [unknown_peer.address for unknown_peer in unknown_peers])
        self.assertEqual(self.probe.metrics.displaced, 100 - MAX_PROBES)
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.assertEqual(self.probe.metrics.unanswered, MAX_PROBES)

    def test_stored(self) -> None:
        """A record that came in a datagram is stored, and its receipt goes to the writer."""
        self.receive(b"12345678", Store(5, 1, 60_000, 1, 0, b"value"))
        reply, address = self.messages()[0]
        self.assertEqual((type(reply), address), (Stored, PEER.address))
        held = self.store.get(5, self.clock.seconds())
        assert held is not None
        self.assertEqual(held.value, b"value")

    def test_waited(self) -> None:
        """A record that may have waited while this process stood still is not stored: it would live too long.
        Messages without a lifetime are read as usual."""
        self.standstill.startService()
        self.addCleanup(self.standstill.stopService)
        self.clock.rightNow += STANDSTILL + 0.1
        self.receive(b"12345678", Store(5, 1, 60_000, 1, 0, b"value"))
        self.assertEqual((self.messages(), self.rpc.metrics.received["STORE"].late), ([], 1))
        self.receive(b"12345678", Ping())
        self.assertEqual([(type(reply), to) for reply, to in self.messages()], [(Pong, PEER.address)])

    def test_unsendable(self) -> None:
        """An answer that cannot be sent is counted, and does no harm."""
        self.wire.unreachable.add(PEER.address)
        self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), OTHER)
        self.assertEqual(self.messages()[0], (Pong(), OTHER.address))
        self.assertGreaterEqual(self.rpc.metrics.unsendable, 1)


class LimitTests(RpcTestCase):
    """The rate limit of one peer."""

    peer_rate, peer_burst = 10.0, 20.0

    def test_requests(self) -> None:
        """Requests of a peer over its rate are counted and not answered; other peers are not affected."""
        for _ in range(50):
            self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), OTHER)
        self.assertEqual([address for _, address in self.wire.sent], [PEER.address] * 20 + [OTHER.address])
        self.assertEqual(self.rpc.metrics.received["PING"].over_limit, 30)
        self.pass_time(1)
        self.wire.sent.clear()
        for _ in range(50):
            self.receive(b"12345678", Ping())
        self.assertEqual(len(self.wire.sent), 10)

    def test_replies(self) -> None:
        """A reply to a call is accepted, however many requests its sender has sent."""
        for _ in range(50):
            self.receive(b"12345678", Ping())
        rpc_id = self.call()
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])


class MalformedTests(RpcTestCase):
    """Datagrams that are no messages."""

    def receive_junk(self, sources: Iterable[Address]) -> list[tuple[str, int, str]]:
        """Host, port and reason of each log line."""
        with capturedLogs() as events:
            for source in sources:
                self.rpc.datagramReceived(b"junk", source)
        return fields(events, "host", "port", "reason")

    def test_once_a_host(self) -> None:
        """They are counted, not answered, and logged once for each host, with the reason."""
        lines = self.receive_junk([("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 3), ("10.0.0.1", 1)])
        self.assertEqual([line[:2] for line in lines], [("10.0.0.1", 1), ("10.0.0.2", 3)])
        self.assertTrue(all(reason for _, _, reason in lines))
        self.assertEqual((self.rpc.metrics.malformed, self.wire.sent), (4, []))

    def test_forged_sources(self) -> None:
        """A flood from many addresses, each of them twice, does not fill the log."""
        sources = [address_of(number) for number in range(3000)]
        lines = self.receive_junk(sources + sources)
        self.assertLessEqual(len(lines), 1000)
        self.assertEqual(self.rpc.metrics.malformed, 6000)

    def test_every_border(self) -> None:
        """Every wrong datagram is Malformed, and raises nothing else."""
        good = datagram_of(PEER, encode(b"12345678", Ping()))
        rng = random.Random(3)
        junk = [b"", good[:1], good[:49], good[:-1], good + b"\0", b"\0" + good, bytes(1500)]
        junk += [good[:49] + rng.randbytes(rng.randrange(1, 60)) for _ in range(200)]
        for datagram in junk:
            self.rpc.datagramReceived(datagram, PEER.address)
        self.assertEqual((self.rpc.metrics.malformed, self.wire.sent), (len(junk), []))


class MetricsTests(RpcTestCase):
    """RPCs are counted by method, direction and outcome."""

    def test_sent(self) -> None:
        """A request that is answered, answered late, refused or not answered counts once."""
        for seconds, reply in ((0.01, Pong()), (SOFT_TIMEOUT_UNKNOWN + 0.1, Pong()), (0.01, FULL)):
            rpc_id = self.call()
            self.pass_time(seconds)
            self.receive(rpc_id, reply)
        self.call()
        self.pass_time(HARD_TIMEOUT + 0.1)
        pings = self.rpc.metrics.sent["PING"]
        self.assertEqual((pings.answered, pings.slow, pings.refused, pings.failed), (1, 1, 1, 1))
        self.assertEqual((pings.latency.count, self.rpc.metrics.sent["STORE"].latency.count), (3, 0))
        self.assertEqual(self.rpc.metrics.refusals_received[Refusal.NO_ROOM], 1)

    def test_received(self) -> None:
        """So does a request of another node."""
        self.receive(bytes(8), Ping())
        self.receive(bytes(8), FindNode(7))
        self.receive(bytes(8), Store(7, 1 << 62, 1_000, 1, 0, b"value"))
        received = self.rpc.metrics.received
        self.assertEqual([received[name].answered for name in ("PING", "FIND_NODE", "STORE")], [1, 1, 0])
        self.assertEqual((received["STORE"].refused, sum(self.rpc.metrics.refusals_sent.values())), (1, 1))

    def test_methods(self) -> None:
        """Every RPC has a name."""
        self.assertEqual(
            list(self.rpc.metrics.sent),
            [
                *("PING", "FIND_NODE", "FIND_VALUE", "STORE", "OFFER", "ANNOUNCE", "RESYNC", "RESYNCED"),
                *("WATCH", "NOTIFY", "DESCRIBE", "INVENTORY"),
            ],
        )
