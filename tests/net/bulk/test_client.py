from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from dht14.errors import CallFailed, Interrupted
from dht14.kademlia.contact import Contact
from dht14.net.bulk.client import MAX_CONNECTIONS, BulkClient
from dht14.net.bulk.client_connection import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_UNDER_WAY,
    MAX_WAIT,
    MAX_WAITING,
)
from dht14.net.bulk.deadlines import MIN_RATE
from dht14.net.bulk.tls import NodeTls
from dht14.wire.bulk_messages import encode_answer
from dht14.wire.messages import Stored
from tests.fakes import fields
from tests.net.bulk.tls_case import (
    ASKER,
    HOLDER,
    HOLDER_CONTACT,
    KEY,
    PUZZLE,
    UNKNOWN_PEER,
    VALUE,
    BulkCase,
    Talker,
    join,
    wrapped,
)


class ClientCase(BulkCase):
    """A client that connects to a server, or to a holder that the test plays."""

    def setUp(self) -> None:
        super().setUp()
        self.client = BulkClient(NodeTls(ASKER.private_key), PUZZLE.verify_proof, self.reactor)

    def connect(self, side=None):
        """Complete the connection that is being made."""
        dial = self.reactor.tcpClients.pop()[2]
        pump = join(side or self.accept(), dial.buildProtocol(None))
        self.settle(pump)
        return pump

    def settle(self, pump) -> None:
        self.reactor.advance(0)
        pump.flush()

    def wait(self, seconds: float, pump=None) -> None:
        for _ in range(round(seconds) + 1):
            self.reactor.advance(1)
        if pump is not None:
            pump.flush()

    def fetch(self) -> "Deferred[bytes]":
        return self.client.fetch(HOLDER_CONTACT, self.ticket_to_fetch(), len(VALUE))

    def push(self, key: int = KEY):
        return self.client.push(HOLDER_CONTACT, self.ticket_to_push(key=key), VALUE)


class TransferTests(ClientCase):
    def test_both_ways(self) -> None:
        """A value is pushed and its receipt comes; the value is fetched over the same connection."""
        pushed = self.push()
        pump = self.connect()
        self.assertEqual(self.successResultOf(pushed), Stored((), replication=8))
        fetched = self.fetch()
        self.settle(pump)
        self.assertEqual(self.successResultOf(fetched), VALUE)
        self.assertEqual(self.client.metrics.opened, 1)

    def test_many_at_once(self) -> None:
        """Many transfers share one connection, more than may be under way at once."""
        pushes = [self.push(key) for key in range(3 * MAX_UNDER_WAY)]
        pump = self.connect()
        for _ in range(10):
            self.settle(pump)
        self.assertEqual(
            [self.successResultOf(pushed) for pushed in pushes], [Stored((), replication=8)] * len(pushes)
        )
        self.assertEqual(len(self.store), len(pushes))
        self.assertEqual(self.client.metrics.opened, 1)

    def test_gone(self) -> None:
        """A value that is not held any more is a failure; the connection stays open."""
        fetched = self.fetch()
        pump = self.connect()
        self.failureResultOf(fetched, CallFailed)
        pushed = self.push()
        self.settle(pump)
        self.successResultOf(pushed)

    def test_given_up(self) -> None:
        """A transfer that was cancelled does not disturb the others."""
        self.hold()
        given_up, fetched = self.fetch(), self.fetch()
        given_up.cancel()
        self.failureResultOf(given_up)
        pump = self.connect()
        self.assertEqual(self.successResultOf(fetched), VALUE)
        late = self.fetch()
        late.cancel()
        self.failureResultOf(late)
        self.settle(pump)
        self.assertEqual(self.client.metrics.refused, 0)

    def test_private_contacts(self) -> None:
        """Private addresses in the answer of a holder on the internet are removed."""
        holder = HOLDER_CONTACT._replace(address=("198.51.100.1", 8000))
        friends = [HOLDER_CONTACT._replace(address=(host, 53)) for host in ("192.168.1.1", "192.0.2.44")]
        talker = Talker()
        ticket = self.ticket_to_push()
        pushed = self.client.push(holder, ticket, VALUE)
        pump = self.connect(wrapped(talker, NodeTls(HOLDER.private_key), self.reactor, False))
        talker.say(encode_answer(ticket, Stored(tuple(friends))))
        self.settle(pump)
        self.assertEqual(self.successResultOf(pushed), Stored((friends[1],)))

    def test_source(self) -> None:
        """A node that is bound to an address connects from there."""
        self.client = BulkClient(NodeTls(ASKER.private_key), PUZZLE.verify_proof, self.reactor, "10.0.0.2")
        self.fetch().addErrback(lambda _: None)
        host, port, _, timeout, source = self.reactor.tcpClients[0]
        self.assertEqual((host, port, source), (*HOLDER_CONTACT.address, ("10.0.0.2", 0)))
        self.assertEqual(timeout, CONNECT_TIMEOUT)

    def test_backpressure(self) -> None:
        """While the holder does not read nothing more is written."""
        first = self.push(1)
        pump = self.connect()
        self.successResultOf(first)
        connection = self.client._connections[HOLDER_CONTACT]
        connection.pauseProducing()
        second = self.push(2)
        self.settle(pump)
        self.assertNoResult(second)
        connection.resumeProducing()
        self.settle(pump)
        self.successResultOf(second)


class FailureTests(ClientCase):
    def test_no_proof(self) -> None:
        """A contact whose key is unknown is not connected to."""
        fetched = self.client.fetch(HOLDER_CONTACT._replace(proof=b""), bytes(16), 1)
        self.failureResultOf(fetched, CallFailed)
        self.assertEqual(self.reactor.tcpClients, [])

    def test_no_connection(self) -> None:
        """If nothing listens there, all waiting transfers fail, and the next one tries again."""
        waiting = [self.fetch(), self.push()]
        dial: Any = self.reactor.tcpClients.pop()[2]
        dial.clientConnectionFailed(None, Failure(ConnectError()))
        for transfer in waiting:
            self.assertNotIsInstance(self.failureResultOf(transfer, CallFailed).value, Interrupted)
        again = self.push()
        self.connect()
        self.successResultOf(again)

    def test_nobody_answers(self) -> None:
        """A connection that is not made in time is given up."""
        fetched = self.fetch()
        self.wait(CONNECT_TIMEOUT)
        self.failureResultOf(fetched, CallFailed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_no_handshake(self) -> None:
        """So is one whose other end does not start the handshake in time."""
        fetched = self.fetch()
        pump = self.connect(Talker())
        self.wait(CONNECT_TIMEOUT, pump)
        self.failureResultOf(fetched, CallFailed)

    def test_another_key(self) -> None:
        """A peer with another key than the contact's is cut off without a byte, and logged."""
        unknown_peer = Talker()
        with capturedLogs() as events:
            fetched = self.fetch()
            self.connect(wrapped(unknown_peer, NodeTls(UNKNOWN_PEER.private_key), self.reactor, False))
        self.failureResultOf(fetched, CallFailed)
        self.assertEqual(unknown_peer.received, b"")
        self.assertEqual(fields(events, "host", "reason"), [("10.0.0.1", "it has the key of another node")])

    def test_lost(self) -> None:
        """When the connection ends all its transfers fail, in a way that says that another one may do."""
        holder = Talker()
        waiting = [self.fetch(), self.push()]
        pump = self.connect(wrapped(holder, NodeTls(HOLDER.private_key), self.reactor, False))
        holder.transport.abortConnection()
        pump.flush()
        for transfer in waiting:
            self.failureResultOf(transfer, Interrupted)

    def test_no_answer(self) -> None:
        """A peer that does not answer in time is cut off."""
        fetched = self.fetch()
        pump = self.connect(wrapped(Talker(), NodeTls(HOLDER.private_key), self.reactor, False))
        self.wait(ANSWER_TIMEOUT)
        self.assertNoResult(fetched)
        self.wait(len(VALUE) / MIN_RATE, pump)
        self.assertNotIsInstance(self.failureResultOf(fetched, CallFailed).value, Interrupted)
        self.assertEqual(self.client.metrics.slow, 1)

    def test_stalled(self) -> None:
        """A connection that has stalled is cut as soon, though there is more to send all the time."""
        transfers = [self.push()]
        pump = self.connect(wrapped(Talker(), NodeTls(HOLDER.private_key), self.reactor, False))
        for key in range(1, 4):
            self.wait(1, pump)
            transfers.append(self.push(key))
        self.wait(ANSWER_TIMEOUT + len(VALUE) / MIN_RATE - 6, pump)
        for transfer in transfers:
            self.assertNotIsInstance(self.failureResultOf(transfer, CallFailed).value, Interrupted)

    def test_wrong_answers(self) -> None:
        """An answer to no transfer, a receipt for a fetch, a value for a push, and bytes that are no answer:
        all of them fail the transfer."""
        ticket = bytes(range(16))
        pong = b"\x00\x10\x00\x01\x82\x48" + ticket[:8] + b"\x18\x40"
        for value, answer in (
            (b"", encode_answer(bytes(16), VALUE)),
            (b"", encode_answer(ticket, Stored((), replication=8))),
            (VALUE, encode_answer(ticket, VALUE)),
            (VALUE, encode_answer(ticket, None)),
            (VALUE, pong),
            (b"", b"\x00\x03\x00\x00"),
        ):
            holder = Talker()
            client = BulkClient(NodeTls(ASKER.private_key), PUZZLE.verify_proof, self.reactor)
            transfer: Any = client.push if value else client.fetch
            ended = transfer(HOLDER_CONTACT, ticket, value or len(VALUE))
            pump = self.connect(wrapped(holder, NodeTls(HOLDER.private_key), self.reactor, False))
            holder.say(answer)
            self.settle(pump)
            self.failureResultOf(ended, CallFailed)

    def test_same_ticket_twice(self) -> None:
        """A ticket that is under way is not used again: its answers could not be distinguished."""
        ticket = bytes(16)
        first, second = (self.client.fetch(HOLDER_CONTACT, ticket, 1) for _ in range(2))
        self.connect(wrapped(Talker(), NodeTls(HOLDER.private_key), self.reactor, False))
        self.failureResultOf(second, CallFailed)
        self.assertNoResult(first)

    def test_too_many_waiting(self) -> None:
        """The queue of one connection is limited."""
        waiting = [self.fetch() for _ in range(MAX_WAITING)]
        self.failureResultOf(self.fetch(), CallFailed)
        self.client.stop()
        for transfer in waiting:
            self.failureResultOf(transfer, CallFailed)


class PoolTests(ClientCase):
    def contact(self, number: int) -> Contact:
        return HOLDER_CONTACT._replace(address=("10.0.1.1", number))

    def open(self, number: int) -> None:
        """A connection that has been used once."""
        fetched = self.client.fetch(self.contact(number), self.ticket_to_fetch(), len(VALUE))
        self.connect()
        self.successResultOf(fetched)

    def test_waited_too_long(self) -> None:
        """A transfer whose ticket may not be valid any more is not sent: that would end the connection."""
        self.hold()
        self.open(1)
        [connection] = self.client._connections.values()
        connection.pauseProducing()
        late = self.client.fetch(self.contact(1), self.ticket_to_fetch(), len(VALUE))
        self.wait(MAX_WAIT + 1)
        self.assertNoResult(late)
        connection.resumeProducing()
        self.failureResultOf(late, CallFailed)
        self.assertEqual(list(self.client._connections.values()), [connection])

    def test_idle(self) -> None:
        """An idle connection is closed, and made again when it is needed."""
        self.hold()
        self.open(1)
        self.wait(IDLE_TIMEOUT - 2)
        self.assertEqual(len(self.client._connections), 1)
        self.wait(2)
        self.assertEqual(len(self.client._connections), 0)
        self.hold()
        self.open(1)
        self.assertEqual(self.client.metrics.opened, 2)

    def test_room(self) -> None:
        """If the pool is full, the connection that was idle for longest is closed for a new one."""
        self.hold()
        for number in range(1, MAX_CONNECTIONS + 1):
            self.open(number)
        fetched = self.client.fetch(self.contact(1), self.ticket_to_fetch(), len(VALUE))
        self.open(MAX_CONNECTIONS + 1)
        self.assertEqual(len(self.client._connections), MAX_CONNECTIONS)
        self.assertIn(self.contact(1), self.client._connections)
        self.assertNotIn(self.contact(2), self.client._connections)
        fetched.addErrback(lambda _: None)

    def test_no_room(self) -> None:
        """If all connections are busy there is no room for another one."""
        waiting = [self.client.fetch(self.contact(number), bytes(16), 1) for number in range(MAX_CONNECTIONS)]
        self.failureResultOf(self.client.fetch(self.contact(999), bytes(16), 1), CallFailed)
        for transfer in waiting:
            transfer.addErrback(lambda _: None)

    def test_stop(self) -> None:
        """After the stop no connection is left, and none is made."""
        self.hold()
        self.open(1)
        waiting = self.client.fetch(self.contact(2), bytes(16), 1)
        self.client.stop()
        self.failureResultOf(waiting, CallFailed)
        self.failureResultOf(self.fetch(), CallFailed)
        self.assertEqual(len(self.client._connections), 0)
