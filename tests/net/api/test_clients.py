from ipaddress import ip_network

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import capturedLogs

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.api.clients import HELD_BYTES, SLOT_TIMEOUT
from dht14.wire.api_messages import (
    encode_get,
    encode_put,
)
from tests.fakes import fields
from tests.net.api.case import UNLIMITED, ApiTestCase, QuickNode, Wire, key


class RateTests(ApiTestCase):
    limits = evolve(UNLIMITED, requests_per_second=10, burst_size=20)

    def make_node(self) -> QuickNode:
        return QuickNode({1: b"v"})

    def test_nothing_lost(self) -> None:
        """After its burst a client is served at its rate: nothing is read, dropped or reordered meanwhile."""
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_put(0, 0, key(n), b"v") for n in range(50)))
        self.assertEqual((len(wire.replies()), wire.reading), (20, False))
        self.clock.pump([0.1] * 10)
        self.assertEqual(len(wire.replies()), 30)
        self.clock.pump([0.1] * 21)
        self.assertEqual([reply.key for reply in wire.replies()], [key(n) for n in range(50)])
        self.assertTrue(wire.reading)

    def test_all_connections_of_a_client(self) -> None:
        """All connections of one address share a bucket and take turns; other addresses have their own
        buckets."""
        (first, one), (second, two), (other, three) = (
            self.connect(),
            self.connect(),
            self.connect("127.0.0.2"),
        )
        first.dataReceived(encode_get(key(1)) * 100)
        second.dataReceived(encode_get(key(1)) * 100)
        other.dataReceived(encode_get(key(1)) * 20)
        self.assertEqual([len(wire.replies()) for wire in (one, two, three)], [20, 0, 20])
        self.clock.pump([0.1] * 41)
        self.assertIn(len(one.replies()) + len(two.replies()), (60, 61))
        self.assertTrue(18 <= len(two.replies()) <= 22)

    def test_reconnecting(self) -> None:
        """A client that reconnects does not get a new bucket."""
        connection, _ = self.connect()
        connection.dataReceived(encode_get(key(1)) * 20)
        self.hang_up(connection)
        again, wire = self.connect()
        again.dataReceived(encode_get(key(1)))
        self.assertEqual(wire.replies(), [])
        self.clock.advance(0.2)
        self.assertEqual(len(wire.replies()), 1)

    def test_logged_once(self) -> None:
        """Throttling is logged once, with the address, and again after a quiet time."""
        connection, _ = self.connect()
        with capturedLogs() as events:
            for pause in (0.0, 2.1, 2.1, 100.0):
                self.clock.pump([0.1] * round(pause * 10))
                connection.dataReceived(encode_get(key(1)) * 21)
        self.assertEqual(fields(events, "client", "requests_per_second"), [("127.0.0.1", 10)] * 2)
        self.assertEqual(self.api.metrics.throttled, 4)
        self.hang_up(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LoopbackRateTests(ApiTestCase):
    limits = evolve(
        UNLIMITED,
        api_allow=(ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8")),
        requests_per_second=10,
        burst_size=20,
        loopback_requests_per_second=0,
    )

    def make_node(self) -> QuickNode:
        return QuickNode({1: b"v"})

    def test_loopback(self) -> None:
        """Clients on loopback have their own limit, here none; the other clients keep theirs."""
        for host, served in (("127.0.0.1", 100), ("::1", 100), ("10.0.0.1", 20)):
            connection, wire = self.connect(host)
            connection.dataReceived(encode_get(key(1)) * 100)
            self.clock.advance(0)
            self.assertEqual(len(wire.replies()), served, host)


class AdmissionTests(ApiTestCase):
    limits = evolve(UNLIMITED, max_connections=6, max_connections_per_client=3)

    def test_not_allowed(self) -> None:
        """A client that is not in api_allow gets no connection; this is counted, and logged once for each
        address."""
        with capturedLogs() as events:
            for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "128.0.0.1"):
                self.assertIsNone(self.api.buildProtocol(IPv4Address("TCP", host, 5)))
            self.assertIsNone(self.api.buildProtocol(IPv6Address("TCP", "::1", 5)))
        self.assertEqual(fields(events, "client"), [("192.0.2.1",), ("192.0.2.2",), ("128.0.0.1",), ("::1",)])
        self.assertEqual((self.api.metrics.not_allowed, self.api.metrics.connections), (5, 0))

    def test_mapped_address(self) -> None:
        """An IPv4 address that is mapped into IPv6 counts as itself."""
        connection = self.api.buildProtocol(IPv6Address("TCP", "::ffff:127.0.0.1", 5))
        assert connection is not None
        wire = Wire()
        connection.makeConnection(wire)
        self.connect()
        self.connect()
        _, fourth = self.connect()
        self.assertFalse(fourth.reading)

    def test_too_many_of_one_client(self) -> None:
        """A connection over the limit is not read; it is cut if no other one of its client ends soon."""
        for _ in range(3):
            self.connect()
        connection, wire = self.connect()
        self.assertEqual((wire.reading, wire.said), (False, []))
        with capturedLogs() as events:
            self.clock.advance(SLOT_TIMEOUT)
        self.assertEqual((wire.said, self.api.metrics.too_many), (["aborted"], 1))
        self.assertEqual(fields(events, "client", "reason"), [("127.0.0.1", "too many connections")])
        self.hang_up(connection)
        self.assertEqual(self.api.metrics.connections, 3)

    def test_place_comes_free_too_late(self) -> None:
        """Another one that ends while the rejected one is being cut ends as ever, and its slot is free."""
        connections = [self.connect()[0] for _ in range(3)]
        rejected, _ = self.connect()
        self.clock.advance(SLOT_TIMEOUT)
        self.hang_up(connections[0])
        self.hang_up(rejected)
        self.assertEqual((self.api.metrics.connections, self.api.metrics.left_behind), (2, 0))
        self.assertTrue(self.connect()[1].reading)
        self.assertFalse(self.connect()[1].reading)

    def test_place_comes_free(self) -> None:
        """It is served when another one ends in time."""
        first, _ = self.connect()
        for _ in range(2):
            self.connect()
        connection, wire = self.connect()
        self.hang_up(first)
        self.clock.advance(SLOT_TIMEOUT)
        connection.dataReceived(encode_get(key(1)))
        self.assertEqual((wire.reading, wire.said, self.node.asked()), (True, [], [("get", 1)]))

    def test_hung_up_outside(self) -> None:
        """A connection that ends before it got a slot takes none, and its PUTs are carried out."""
        for _ in range(3):
            self.connect()
        connection, _ = self.connect()
        connection.dataReceived(encode_put(0, 0, key(1), b"v"))
        self.assertEqual(self.node.calls, [])
        self.hang_up(connection)
        self.assertEqual((self.node.asked(), self.clock.getDelayedCalls()), ([("put", 1, b"v", 0, 0)], []))
        self.assertFalse(self.connect()[1].reading)

    def test_too_many_in_all(self) -> None:
        """Over the limit of all connections no client gets one until one ends."""
        connections = [self.connect(f"127.0.0.{n}")[0] for n in range(1, 7)]
        self.assertIsNone(self.api.buildProtocol(IPv4Address("TCP", "127.0.0.9", 5)))
        self.hang_up(connections[0])
        self.connect("127.0.0.9")
        self.assertEqual(self.api.metrics.too_many, 1)

    def test_too_much_left_behind(self) -> None:
        """The same holds if clients have hung up and their PUTs are still under way."""
        for n in range(6):
            connection, _ = self.connect()
            connection.dataReceived(encode_put(0, 0, key(n), b"v"))
            self.hang_up(connection)
        self.assertEqual((self.api.metrics.connections, self.api.metrics.left_behind), (0, 6))
        self.assertIsNone(self.api.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5)))
        self.node.calls[0].answer.callback(True)
        self.connect()


class HeldTests(ApiTestCase):
    """What all connections together make the node hold."""

    def load(self, host: str, connections: int, requests: bytes) -> list[Wire]:
        """Connections of one client, each with these requests."""
        wires = []
        for _ in range(connections):
            connection, wire = self.connect(host)
            connection.dataReceived(requests)
            wires.append(wire)
        return wires

    def puts(self, count: int) -> bytes:
        return b"".join(encode_put(0, 0, key(n), bytes(MAX_VALUE)) for n in range(count))

    def held(self) -> int:
        return sum(len(call.what[2]) for call in self.node.calls)

    def test_sum(self) -> None:
        """A storm of PUTs is slowed down when all connections together hold enough; nothing fails or is
        lost."""
        for number in range(1, 9):
            self.load(f"127.0.0.{number}", 128, self.puts(4))
        self.assertLess(self.held(), HELD_BYTES + 1024 * MAX_VALUE)
        answered = 0
        while answered < len(self.node.calls):
            self.node.calls[answered].answer.callback(True)
            answered += 1
        self.assertEqual((answered, self.api.metrics.successes), (1024 * 4, 1024 * 4))
        self.assertEqual(self.api.accounts.held, 0)

    def test_shares(self) -> None:
        """One client does not take all of it: others have room too, and one request each in any case."""
        self.load("127.0.0.1", 128, self.puts(9))
        first = self.held()
        self.assertTrue(HELD_BYTES // 2 <= first < HELD_BYTES * 5 // 8)
        self.load("127.0.0.2", 128, self.puts(9))
        self.assertGreater(self.held() - first, HELD_BYTES // 4)
        calls = len(self.node.calls)
        (wire,) = self.load("127.0.0.3", 1, self.puts(9))
        self.assertGreaterEqual(len(self.node.calls), calls + 1)
        self.node.calls[calls].answer.callback(True)
        self.assertEqual(len(wire.replies()), 1)

    def test_unread(self) -> None:
        """Replies that a client does not read count until it reads them, or is gone."""
        connections = [self.connect(buffer=100) for _ in range(2)]
        for connection, _ in connections:
            connection.dataReceived(b"".join(encode_get(key(n)) for n in range(64)))
        for call in self.node.calls:
            call.answer.callback(bytes(MAX_VALUE))
        self.assertGreater(self.api.accounts.held, 120 * MAX_VALUE)
        connections[0][0].resumeProducing()
        self.assertLess(self.api.accounts.held, 64 * (MAX_VALUE + 100))
        self.hang_up(connections[1][0])
        self.assertEqual(self.api.accounts.held, 0)
