from twisted.logger import capturedLogs

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.bulk_server import (
    ARRIVALS_A_SUBNET,
    FLOOR,
    GRACE,
    HANDSHAKE_SECONDS,
    KEPT_SECONDS,
    MOST_AT_WORK,
    MOST_CONNECTIONS,
    MOST_PER_SUBNET,
    TICKET_SECONDS,
)
from dht14.net.tls import NodeTls
from dht14.net.watch import LOOK_INTERVAL
from dht14.storage.store import Outcome, Refusal, Verdict
from dht14.wire.bulk_messages import decode_answer, tag_of
from dht14.wire.frames import FrameSplitter
from dht14.wire.messages import Refused, Stored
from tests.fakes import fields
from tests.net.tls_case import ASKER, KEY, PUZZLE, STRANGER, VALUE, VERSION, BulkCase, Talker, join, wrapped
from tests.node.test_responder import LateStore


class ServerCase(BulkCase):
    """A peer that speaks by hand to a server."""

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
        for _ in range(round(seconds / LOOK_INTERVAL)):
            self.reactor.advance(LOOK_INTERVAL)
        self.pump.flush()

    def answers(self):
        """What has come, by tag."""
        splitter = FrameSplitter()
        splitter.feed(self.peer.received)
        frames = []
        while frame := splitter.next_frame():
            frames.append(decode_answer(frame, PUZZLE.check))
        return frames


class TransferTests(ServerCase):
    def test_fetch(self) -> None:
        """For a ticket the value that it is for comes."""
        self.hold()
        self.connect()
        ticket = self.ticket_to_fetch()
        self.say(ticket)
        self.assertEqual(self.answers(), [(tag_of(ticket), VALUE)])

    def test_gone(self) -> None:
        """What is not held any more, or is another by now, is told so, and the connection stays."""
        self.connect()
        tickets = [self.ticket_to_fetch(), self.ticket_to_fetch()]
        self.say(tickets[0])
        self.hold(VALUE[1:])
        self.say(tickets[1])
        self.assertEqual(self.answers(), [(tag_of(ticket), None) for ticket in tickets])
        self.assertFalse(self.peer.lost)

    def test_push(self) -> None:
        """A value that comes whole is held, and answered like a STORE."""
        self.connect()
        ticket = self.ticket_to_push()
        self.say(ticket + VALUE)
        self.assertEqual(self.answers(), [(tag_of(ticket), Stored((), replication=8))])
        held = self.store.get(KEY, self.now())
        self.assertEqual((held.value, held.version, held.writer), (VALUE, VERSION, ASKER.node_id))

    def test_in_pieces(self) -> None:
        """How the bytes are cut does not matter, and one transfer may follow another at once."""
        self.connect()
        tickets = [self.ticket_to_push(key=key) for key in (1, 2)]
        stream = b"".join(ticket + VALUE for ticket in tickets)
        for start in range(0, len(stream), 9_999):
            self.say(stream[start : start + 9_999])
        self.assertEqual(self.answers(), [(tag_of(ticket), Stored((), replication=8)) for ticket in tickets])

    def test_other_bytes(self) -> None:
        """Bytes of another SHA-256 than was offered are held by nobody."""
        self.connect()
        ticket = self.ticket_to_push()
        self.say(ticket + VALUE[:-1] + b"x")
        self.assertEqual(self.answers(), [(tag_of(ticket), Refused((), Refusal.INVALID))])
        self.assertIsNone(self.store.get(KEY, self.now()))

    def test_receipt_comes_later(self) -> None:
        """The receipt is given when the store says that the record is safe; others may overtake it."""
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
        """While many values wait for their commit no more are taken; then it goes on by itself."""
        store = LateStore()
        self.server = self.serve(store)
        self.connect()
        for key in range(MOST_AT_WORK + 2):
            self.say(self.ticket_to_push(key=key) + VALUE)
        self.assertEqual(len(store.offers), MOST_AT_WORK)
        self.assertEqual(self.server.counters["taken"], MOST_AT_WORK)
        store.offers.pop(0)(Verdict(Outcome.HELD, VERSION))
        self.pump.flush()
        self.assertEqual(self.server.counters["taken"], MOST_AT_WORK + 1)

    def test_peer_goes(self) -> None:
        """A value whose sender has gone is kept all the same."""
        store = LateStore()
        self.server = self.serve(store)
        self.connect()
        self.say(self.ticket_to_push() + VALUE)
        self.peer.transport.abortConnection()
        self.pump.flush()
        store.offers[0](Verdict(Outcome.HELD, VERSION))
        self.assertEqual(self.peer.received, b"")

    def test_does_not_read(self) -> None:
        """A peer that does not take its values is given no more of them, and its connection is cut in time."""
        self.hold()
        self.connect()
        connection = next(iter(self.server._connections))
        connection.pauseProducing()
        self.say(self.ticket_to_fetch())
        self.assertEqual(self.peer.received, b"")
        self.wait(2 * MAX_VALUE / FLOOR + GRACE + 1)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.counters["slow"], 1)

    def test_reads_again(self) -> None:
        """As soon as it takes them it goes on."""
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
        self.assertEqual(self.server.counters[reason_counted], 1)

    def test_worthless_ticket(self) -> None:
        """Who comes with a ticket that was not given out is cut off, and told of once in the log."""
        self.hold()
        self.connect()
        with capturedLogs() as events:
            self.say(bytes(16))
        self.assert_cut("refused")
        self.assertEqual(fields(events, "host", "reason"), [("10.0.0.2", "a ticket that is worth nothing")])

    def test_stolen_ticket(self) -> None:
        """So is who comes with the ticket of another, whose own ticket stays good."""
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
        """Who does not even begin a handshake is cut off, and nobody is looked at any more."""
        self.pump = join(self.accept(), self.peer)
        self.wait(HANDSHAKE_SECONDS - 1)
        self.assertFalse(self.peer.lost)
        self.wait(2)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_ticket(self) -> None:
        """Who sends no ticket, or half of one, is cut off."""
        self.connect()
        self.say(self.ticket_to_fetch()[:15])
        self.wait(TICKET_SECONDS + 1)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.counters["slow"], 1)

    def test_dripping(self) -> None:
        """A value that comes slower than the floor is given up, however steadily it comes."""
        self.connect()
        self.say(self.ticket_to_push())
        for _ in range(round(len(VALUE) / FLOOR + GRACE) + 1):
            self.say(bytes(FLOOR // 2))
            self.wait(1)
        self.assertTrue(self.peer.lost)
        self.assertIsNone(self.store.get(KEY, self.now()))

    def test_kept(self) -> None:
        """After a transfer a connection may rest for a while, and serve again, but not for ever."""
        self.hold()
        self.connect()
        for _ in range(2):
            self.say(self.ticket_to_fetch())
            self.wait(KEPT_SECONDS - 1)
        self.assertEqual(len(self.answers()), 2)
        self.wait(2)
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.server.counters["idle"], 1)

    def test_close(self) -> None:
        """When the node stops all connections are cut."""
        self.connect()
        self.server.close()
        self.pump.flush()
        self.assertTrue(self.peer.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AdmissionTests(BulkCase):
    def admit(self, host: str):
        """A connection of this host, on its cable; None where it is not let in."""
        side = self.accept(host)
        return None if side is None else join(side, Talker())

    def test_per_subnet(self) -> None:
        """One subnet may have so many connections, others are not concerned; who leaves makes room."""
        self.server = self.serve(self.store, subnet=lambda host: host.encode()[:3])
        first = self.admit("1.1.1.1")
        for _ in range(MOST_PER_SUBNET - 1):
            self.assertIsNotNone(self.admit("1.1.1.2"))
        self.assertIsNone(self.admit("1.1.1.3"))
        self.assertIsNotNone(self.admit("2.2.2.2"))
        self.assertEqual(self.server.counters["too many"], 1)
        first.client.transport.abortConnection()
        first.flush()
        self.assertIsNotNone(self.admit("1.1.1.3"))

    def test_arrivals(self) -> None:
        """However short they stay, so many come from one subnet in a second, and others are not concerned."""
        self.server = self.serve(self.store, subnet=lambda host: host.encode()[:3])
        for expected in (2 * ARRIVALS_A_SUBNET, ARRIVALS_A_SUBNET):
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
        """IPv4 in the clothes of IPv6 counts as what it is."""
        seen: list[str] = []
        self.server = self.serve(self.store, subnet=seen.append)
        self.admit("::ffff:1.2.3.4")
        self.assertEqual(seen, ["1.2.3.4"])

    def test_in_all(self) -> None:
        """In all there are so many. Strangers do not keep others out: the oldest of them goes. Who has shown a
        ticket stays."""
        self.hold()
        cables = [self.admit("10.0.0.2") for _ in range(MOST_CONNECTIONS)]
        self.assertIsNotNone(self.admit("10.0.0.3"))
        cables[0].flush()
        self.assertTrue(cables[0].client.lost)
        self.assertFalse(cables[1].client.lost)
        for connection in self.server._connections:
            connection.errands = 1
        self.assertIsNone(self.admit("10.0.0.4"))
        self.assertEqual(len(self.server._connections), MOST_CONNECTIONS)
