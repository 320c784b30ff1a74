from collections.abc import Iterable
from typing import Any

from twisted.logger import capturedLogs

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.bulk.deadlines import CHECK_INTERVAL, MIN_RATE
from dht14.net.bulk.metrics import BulkServerMetrics
from dht14.net.bulk.server import (
    ARRIVAL_RATE,
    CONNECTION_LIMITS,
    HANDSHAKE_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_PER_KEY,
    MAX_PER_SUBNET,
    MAX_UNCOMMITTED,
    SERVER_IDLE_TIMEOUT,
    TICKET_TIMEOUT,
    TRANSFER_GRACE,
)
from dht14.net.bulk.tls import NodeTls
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.security.subnets import Party, Scope
from dht14.wire.bulk_messages import decode_answer, tag_of
from dht14.wire.frames import FrameSplitter
from dht14.wire.messages import Refused, Stored
from tests.fakes import fields
from tests.net.bulk.tls_case import (
    ASKER,
    KEY,
    PUZZLE,
    STRANGER,
    VALUE,
    VERSION,
    BulkCase,
    Talker,
    join,
    wrapped,
)
from tests.node.responder_case import LateStore


class ServerCase(BulkCase):
    """A peer of a server, played by the test."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = Talker()

    def connect(self, identity=ASKER):
        tls = NodeTls(identity.private_key)
        self.pump = join(self.accept(), wrapped(self.peer, tls, self.reactor, True))

    def say(self, data: bytes) -> None:
        self.peer.say(data)
        self.reactor.advance(0)
        self.pump.flush()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / CHECK_INTERVAL)):
            self.reactor.advance(CHECK_INTERVAL)
        self.pump.flush()

    def answers(self):
        """The answers that have come, by tag."""
        splitter = FrameSplitter()
        splitter.feed(self.peer.received)
        frames = []
        while frame := splitter.next_frame():
            frames.append(decode_answer(frame, PUZZLE.verify_proof))
        return frames


class TransferTests(ServerCase):
    def test_fetch(self) -> None:
        """A ticket for a value returns the value."""
        self.hold()
        self.connect()
        ticket = self.ticket_to_fetch()
        self.say(ticket)
        self.assertEqual(self.answers(), [(tag_of(ticket), VALUE)])

    def test_gone(self) -> None:
        """For a value that is not held any more, or has changed, the answer says so, and the connection
        stays."""
        self.connect()
        tickets = [self.ticket_to_fetch(), self.ticket_to_fetch()]
        self.say(tickets[0])
        self.hold(VALUE[1:])
        self.say(tickets[1])
        self.assertEqual(self.answers(), [(tag_of(ticket), None) for ticket in tickets])
        self.assertFalse(self.peer.lost)

    def test_push(self) -> None:
        """A complete value is stored, and answered like a STORE."""
        self.connect()
        ticket = self.ticket_to_push()
        self.say(ticket + VALUE)
        self.assertEqual(self.answers(), [(tag_of(ticket), Stored((), replication=8))])
        held = self.store.get(KEY, self.now())
        self.assertEqual((held.value, held.version, held.writer), (VALUE, VERSION, ASKER.node_id))

    def test_in_pieces(self) -> None:
        """The pieces in which bytes arrive do not matter, and one transfer may follow another at once."""
        self.connect()
        tickets = [self.ticket_to_push(key=key) for key in (1, 2)]
        stream = b"".join(ticket + VALUE for ticket in tickets)
        for start in range(0, len(stream), 9_999):
            self.say(stream[start : start + 9_999])
        self.assertEqual(self.answers(), [(tag_of(ticket), Stored((), replication=8)) for ticket in tickets])

    def test_other_bytes(self) -> None:
        """A value whose SHA-256 is not that of the OFFER is not stored."""
        self.connect()
        ticket = self.ticket_to_push()
        self.say(ticket + VALUE[:-1] + b"x")
        self.assertEqual(self.answers(), [(tag_of(ticket), Refused((), Refusal.INVALID))])
        self.assertIsNone(self.store.get(KEY, self.now()))

    def test_receipt_comes_later(self) -> None:
        """The receipt is sent when the store reports that the record is safe; others may overtake it."""
        store = LateStore()
        self.server = self.serve(store)
        self.connect()
        tickets = [self.ticket_to_push(key=key) for key in (1, 2)]
        for ticket in tickets:
            self.say(ticket + VALUE)
        self.assertEqual(self.answers(), [])
        for tell in reversed(store.offers):
            tell(Verdict(Outcome.HELD, VERSION))
        self.pump.flush()
        self.assertEqual([tag for tag, _ in self.answers()], [tag_of(ticket) for ticket in reversed(tickets)])

    def test_not_too_many_at_once(self) -> None:
        """While many values wait for their commit no more are read; then reading continues."""
        store = LateStore()
        self.server = self.serve(store)
        self.connect()
        for key in range(MAX_UNCOMMITTED + 2):
            self.say(self.ticket_to_push(key=key) + VALUE)
        self.assertEqual(len(store.offers), MAX_UNCOMMITTED)
        self.assertEqual(self.server.metrics.taken, MAX_UNCOMMITTED)
        store.offers.pop(0)(Verdict(Outcome.HELD, VERSION))
        self.pump.flush()
        self.assertEqual(self.server.metrics.taken, MAX_UNCOMMITTED + 1)

    def test_peer_goes(self) -> None:
        """A value whose sender has gone is stored all the same."""
        store = LateStore()
        self.server = self.serve(store)
        self.connect()
        self.say(self.ticket_to_push() + VALUE)
        self.peer.transport.abortConnection()
        self.pump.flush()
        store.offers[0](Verdict(Outcome.HELD, VERSION))
        self.assertEqual(self.peer.received, b"")

    def test_does_not_read(self) -> None:
        """A peer that does not read its values gets no more of them, and its connection is cut in time."""
        self.hold()
        self.connect()
        connection = next(iter(self.server._connections))
        connection.pauseProducing()
        self.say(self.ticket_to_fetch())
        self.assertEqual(self.peer.received, b"")
        self.wait(2 * MAX_VALUE / MIN_RATE + TRANSFER_GRACE + 1)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.metrics.slow, 1)

    def test_reads_again(self) -> None:
        """When it reads, transfers continue."""
        self.hold()
        self.connect()
        connection = next(iter(self.server._connections))
        connection.pauseProducing()
        self.say(self.ticket_to_fetch())
        connection.resumeProducing()
        self.pump.flush()
        self.assertEqual(len(self.answers()), 1)


class RefusalTests(ServerCase):
    def assert_cut(self, reason_counted: str) -> None:
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.peer.received, b"")
        self.assertEqual(getattr(self.server.metrics, reason_counted), 1)

    def test_worthless_ticket(self) -> None:
        """A peer with an unknown ticket is cut off, and logged once."""
        self.hold()
        self.connect()
        with capturedLogs() as events:
            self.say(bytes(16))
        self.assert_cut("refused")
        self.assertEqual(fields(events, "host", "reason"), [("10.0.0.2", "invalid ticket")])

    def test_stolen_ticket(self) -> None:
        """So is a peer with the ticket of another peer, whose own ticket stays valid."""
        self.hold()
        ticket = self.ticket_to_fetch()
        self.connect(STRANGER)
        self.say(ticket)
        self.assert_cut("refused")
        self.peer = Talker()
        self.connect(ASKER)
        self.say(ticket)
        self.assertEqual(self.answers(), [(tag_of(ticket), VALUE)])

    def test_used_ticket(self) -> None:
        """A ticket is used once."""
        self.hold()
        self.connect()
        ticket = self.ticket_to_fetch()
        self.say(ticket)
        self.say(ticket)
        self.assertTrue(self.peer.lost)
        self.assertEqual(len(self.answers()), 1)


class PatienceTests(ServerCase):
    def test_no_handshake(self) -> None:
        """A peer that does not begin a handshake is cut off, and no timer is left."""
        self.pump = join(self.accept(), self.peer)
        self.wait(HANDSHAKE_TIMEOUT - 1)
        self.assertFalse(self.peer.lost)
        self.wait(2)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_ticket(self) -> None:
        """A peer that sends no ticket, or half of one, is cut off."""
        self.connect()
        self.say(self.ticket_to_fetch()[:15])
        self.wait(TICKET_TIMEOUT + 1)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.metrics.slow, 1)

    def test_dripping(self) -> None:
        """A value that comes more slowly than MIN_RATE is given up, even if it comes steadily."""
        self.connect()
        self.say(self.ticket_to_push())
        for _ in range(round(len(VALUE) / MIN_RATE + TRANSFER_GRACE) + 1):
            self.say(bytes(MIN_RATE // 2))
            self.wait(1)
        self.assertTrue(self.peer.lost)
        self.assertIsNone(self.store.get(KEY, self.now()))

    def test_kept(self) -> None:
        """After a transfer a connection may be idle for a while and be used again, but not for ever."""
        self.hold()
        self.connect()
        for _ in range(2):
            self.say(self.ticket_to_fetch())
            self.wait(SERVER_IDLE_TIMEOUT - 1)
        self.assertEqual(len(self.answers()), 2)
        self.wait(2)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.metrics.idle, 1)

    def test_close(self) -> None:
        """When the node stops all connections are cut."""
        self.connect()
        self.server.close()
        self.pump.flush()
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AdmissionTests(BulkCase):
    def admit(self, host: str):
        """A connection of this host, on its cable; None if it is not accepted."""
        side = self.accept(host)
        return None if side is None else join(side, Talker())

    def fill(self, hosts: Iterable[str]) -> list[Any]:
        """Idle connections of these hosts, each with a redeemed ticket, the one idle for longest first."""
        cables = []
        for host in hosts:
            cables.append(self.admit(host))
            newest = list(self.server._connections)[-1]
            newest.tickets_redeemed, newest.used_at = 1, self.now()
            self.reactor.advance(0.1)
            newest.deadline += 1e6
        return cables

    def gone(self, cables: list[Any]) -> list[int]:
        for cable in cables:
            cable.flush()
        return [number for number, cable in enumerate(cables) if cable.client.lost]

    def set_to_work(self) -> None:
        for connection in self.server._connections:
            connection._uncommitted = 1

    def test_per_subnet(self) -> None:
        """One subnet may have a limited number of connections, which does not affect others; an ended one
        makes room."""
        first = self.admit("1.1.1.1")
        for _ in range(MAX_PER_SUBNET - 1):
            self.assertIsNotNone(self.admit("1.1.1.2"))
        self.assertIsNone(self.admit("1.1.1.3"))
        self.assertIsNotNone(self.admit("2.2.2.2"))
        self.assertEqual(self.server.metrics.too_many, 1)
        first.client.transport.abortConnection()
        first.flush()
        self.assertIsNotNone(self.admit("1.1.1.3"))

    def test_per_provider(self) -> None:
        """An IPv6 /32, of which one party may have 65,536 subnets, has a limit too."""
        came = [self.admit(f"2001:db8:{number:x}::1") for number in range(MAX_CONNECTIONS)]
        self.assertEqual(len(came) - came.count(None), CONNECTION_LIMITS[Scope.PROVIDER])
        self.assertIsNotNone(self.admit("2001:db9::1"))

    def test_arrivals(self) -> None:
        """The rate of connections from one subnet is limited, however short they are; others are not
        affected."""
        for expected in (2 * ARRIVAL_RATE, ARRIVAL_RATE):
            came = [pump for _ in range(200) if (pump := self.come_and_go("1.1.1.1"))]
            self.assertEqual(len(came), expected)
            self.assertIsNotNone(self.admit("2.2.2.2"))
            self.reactor.advance(1)

    def come_and_go(self, host: str):
        pump = self.admit(host)
        if pump is not None:
            pump.client.transport.abortConnection()
            pump.flush()
        return pump

    def test_mapped(self) -> None:
        """An IPv4 address that is mapped into IPv6 counts as itself."""
        seen: list[str] = []

        def parties_of(host: str) -> tuple[Party, ...]:
            seen.append(host)
            return ()

        self.server = self.serve(self.store, parties_of)
        self.admit("::ffff:1.2.3.4")
        self.assertEqual(seen, ["1.2.3.4"])

    def test_strangers(self) -> None:
        """Unknown peers do not keep others out: the oldest connection without a redeemed ticket is closed."""
        cables = [self.admit("10.0.0.2") for _ in range(MAX_CONNECTIONS)]
        self.assertIsNotNone(self.admit("10.0.0.3"))
        self.assertEqual(self.gone(cables), [0])
        self.assertEqual(self.server.metrics, BulkServerMetrics(displaced=1))

    def test_subnets_that_fill_it(self) -> None:
        """If eight subnets have all connections, each with a redeemed ticket, the one idle for longest is
        closed for each newcomer from elsewhere."""
        cables = self.fill(f"{n % 8 + 1}.1.1.1" for n in range(MAX_CONNECTIONS))
        self.assertEqual(len(self.server._connections), MAX_CONNECTIONS)
        honest = self.fill(f"{100 + n}.1.1.1" for n in range(20))
        self.assertEqual((self.gone(cables), self.gone(honest)), (list(range(20)), []))

    def test_heaviest(self) -> None:
        """The party that has most gives way, however long others were idle; its newcomers displace no
        other party."""
        others = self.fill(f"{n // 200 + 20}.{n % 200}.1.1" for n in range(MAX_CONNECTIONS - 20))
        many = self.fill(["9.1.1.1"] * 20)
        self.assertIsNotNone(self.admit("8.1.1.1"))
        self.assertEqual((self.gone(others), self.gone(many)), ([], [0]))
        self.assertIsNotNone(self.admit("9.1.1.2"))
        self.assertEqual((self.gone(others), self.gone(many)), ([], [0, 1]))

    def test_one_private_host(self) -> None:
        """A host of a private range may have all connections, and gives way to others there, busy or not."""
        cables = self.fill(["10.0.0.2"] * MAX_CONNECTIONS)
        self.assertIsNotNone(self.admit("10.0.0.2"))
        self.assertEqual(self.gone(cables), [0])
        self.assertIsNotNone(self.admit("10.0.0.3"))
        self.set_to_work()
        self.assertIsNotNone(self.admit("10.0.0.4"))
        self.assertIsNone(self.admit("10.0.0.2"))
        self.assertEqual(len(self.gone(cables)), 2)

    def test_uncommitted(self) -> None:
        """If all are busy and no party has far more than others, the newcomer must wait."""
        cables = self.fill(f"{n // 200 + 20}.{n % 200}.1.1" for n in range(MAX_CONNECTIONS))
        self.set_to_work()
        self.assertIsNone(self.admit("9.1.1.1"))
        self.assertEqual((self.gone(cables), self.server.metrics.too_many), ([], 1))


class KeyTests(ServerCase):
    """A key has a limited number of connections, from any addresses."""

    def connect_again(self) -> Talker:
        self.peer = Talker()
        self.connect()
        return self.peer

    def test_of_one_key(self) -> None:
        """Of three the oldest idle one is closed."""
        self.hold()
        peers = [self.connect_again() for _ in range(MAX_PER_KEY)]
        newest = self.connect_again()
        self.say(self.ticket_to_fetch())
        self.assertEqual(len(self.answers()), 1)
        self.assertEqual(len(self.server._connections), MAX_PER_KEY)
        self.assertEqual(self.server.metrics.of_one_key, 1)
        self.assertFalse(newest.lost or peers[1].lost)

    def test_uncommitted(self) -> None:
        """If the others are busy it is the newest one."""
        for _ in range(MAX_PER_KEY):
            self.connect_again()
            self.say(self.ticket_to_push())
        self.assertTrue(self.connect_again().lost)
        self.assertEqual(len(self.server._connections), MAX_PER_KEY)
