import socket
from collections.abc import Callable

from attrs import define, field
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.net.rpc.udp_port import (
    DATAGRAMS_PER_TURN,
    MAX_READ,
    RECEIVE_BUFFER,
    SEND_BUFFER,
    TURN_SECONDS,
    UdpPort,
    unmapped,
)


@define(eq=False)
class Recorder(DatagramProtocol):
    """Records datagrams; then does what the test wants."""

    then: Callable[[bytes], None] = lambda datagram: None
    seen: list[tuple[bytes, Address]] = field(factory=list)
    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.seen.append((datagram, addr))
        self.then(datagram)

    @property
    def datagrams(self) -> list[bytes]:
        return [datagram for datagram, _ in self.seen]


class UnmappedTests(SynchronousTestCase):
    """Addresses as an IPv6 socket reports them."""

    def test_addresses(self) -> None:
        """IPv4 addresses lose their prefix, IPv6 addresses stay, and link-local ones are dropped."""
        self.assertEqual(unmapped("::ffff:192.0.2.1", 8000), ("192.0.2.1", 8000))
        self.assertEqual(unmapped("2001:db8::1", 8000), ("2001:db8::1", 8000))
        self.assertIsNone(unmapped("fe80::1%eth0", 8000))


class UdpPortTests(SynchronousTestCase):
    """A real socket on the loopback, which delivers a datagram before `sendto` returns; no reactor runs."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.protocol = Recorder()

    def port(self, host: str = "127.0.0.1") -> UdpPort:
        port = UdpPort((host, 0), self.protocol, self.reactor)
        port.startListening()

        def close() -> None:
            port.stopListening()
            self.reactor.advance(0)

        self.addCleanup(close)
        return port

    def peer(self, host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            peer = socket.socket(family, socket.SOCK_DGRAM)
            self.addCleanup(peer.close)
            peer.bind((host, 0))
        except OSError as error:
            raise SkipTest(f"this host has no {host}") from error
        peer.settimeout(5)
        return peer

    def test_exchange(self) -> None:
        """A datagram comes with the address of its sender, and can be answered there."""
        port, peer = self.port(), self.peer()
        peer.sendto(b"ping", ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.seen, [(b"ping", peer.getsockname())])
        port.write(b"pong", self.protocol.seen[0][1])
        self.assertEqual(peer.recvfrom(100), (b"pong", ("127.0.0.1", port.getHost().port)))

    def test_bounded_turn(self) -> None:
        """One turn reads a limited number of waiting datagrams; the rest comes in the next turns."""
        port, peer = self.port(), self.peer()
        for _ in range(DATAGRAMS_PER_TURN + 10):
            peer.sendto(b"x", ("127.0.0.1", port.getHost().port))
        turns = []
        for _ in range(3):
            port.doRead()
            turns.append(len(self.protocol.seen))
        self.assertEqual(turns, [DATAGRAMS_PER_TURN, DATAGRAMS_PER_TURN + 10, DATAGRAMS_PER_TURN + 10])

    def test_costly_turn(self) -> None:
        """If datagrams are slow to process, a turn reads only as many as fit its time."""
        port, peer = self.port(), self.peer()
        self.protocol.then = lambda datagram: self.reactor.advance(TURN_SECONDS / 2.5)
        for _ in range(10):
            peer.sendto(b"x", ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(len(self.protocol.seen), 3)

    def test_empty(self) -> None:
        """Empty datagrams are delivered, and count for the turn."""
        port, peer = self.port(), self.peer()
        for _ in range(DATAGRAMS_PER_TURN + 10):
            peer.sendto(b"", ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.datagrams, [b""] * DATAGRAMS_PER_TURN)

    def test_largest(self) -> None:
        """Of a datagram longer than any valid one only the beginning is read, which is still too long to
        be valid."""
        port, peer = self.port(), self.peer()
        peer.sendto(bytes(65_507), ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.datagrams, [bytes(MAX_READ)])
        self.assertGreater(MAX_READ, MAX_DATAGRAM)

    def test_bug(self) -> None:
        """A bug in the receiver is logged as one, and costs only that datagram."""

        def fail_once(datagram: bytes) -> None:
            if datagram == b"bad":
                raise ZeroDivisionError

        self.protocol.then = fail_once
        port, peer = self.port(), self.peer()
        for datagram in (b"bad", b"good"):
            peer.sendto(datagram, ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.datagrams, [b"bad", b"good"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bugs_are_bounded(self) -> None:
        """A bug is logged once, so that it cannot fill the log; another bug is logged beside it."""

        def fail(datagram: bytes) -> None:
            raise ZeroDivisionError if datagram == b"bad" else KeyError

        self.protocol.then = fail
        port, peer = self.port(), self.peer()
        for datagram in (b"bad",) * 50 + (b"worse",) * 50:
            peer.sendto(datagram, ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(len(self.protocol.datagrams), 100)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_closed_meanwhile(self) -> None:
        """A port that is closed by a datagram reads no further one."""

        def close(datagram: bytes) -> None:
            port.stopListening()
            self.reactor.advance(0)

        self.protocol.then = close
        port, peer = self.port(), self.peer()
        for _ in range(2):
            peer.sendto(b"x", ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.datagrams, [b"x"])
        self.assertIsNone(self.protocol.transport)

    def test_nobody_there(self) -> None:
        """A datagram to a closed port disturbs neither the next one nor the receiving."""
        port, gone, peer = self.port(), self.peer(), self.peer()
        address = gone.getsockname()
        gone.close()
        for _ in range(3):
            port.write(b"x", address)
        peer.sendto(b"y", ("127.0.0.1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.datagrams, [b"y"])

    def test_unreachable(self) -> None:
        """An address of the other family raises OSError, like any unreachable one."""
        self.assertRaises(OSError, self.port().write, b"x", ("::1", 9))

    def test_taken(self) -> None:
        """The socket of a port that cannot be bound is closed."""
        twin = UdpPort(("127.0.0.1", self.port().getHost().port), Recorder(), self.reactor)
        self.assertRaises(CannotListenError, twin.bind)
        assert twin._made is not None
        self.assertEqual(twin._made.fileno(), -1)

    def test_buffers(self) -> None:
        """The kernel is asked for buffers that outlast a busy turn, and datagrams to dead hosts."""
        port = self.port()
        asked = ((socket.SO_RCVBUF, RECEIVE_BUFFER), (socket.SO_SNDBUF, SEND_BUFFER))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            for buffer, size in asked:
                plain.setsockopt(socket.SOL_SOCKET, buffer, size)
                granted = plain.getsockopt(socket.SOL_SOCKET, buffer)
                self.assertEqual(port.getHandle().getsockopt(socket.SOL_SOCKET, buffer), granted)

    def test_ipv6(self) -> None:
        """IPv6 works the same, and addresses have two parts there too."""
        peer = self.peer("::1")
        port = self.port("::1")
        peer.sendto(b"ping", ("::1", port.getHost().port))
        port.doRead()
        self.assertEqual(self.protocol.seen, [(b"ping", peer.getsockname()[:2])])
        port.write(b"pong", self.protocol.seen[0][1])
        self.assertEqual(peer.recvfrom(100)[0], b"pong")

    def test_both_families(self) -> None:
        """A port on [::] serves IPv4 too, and its protocol sees plain IPv4 addresses, in and out."""
        six, four = self.peer("::1"), self.peer()
        port = self.port("::")
        number = port.getHost().port
        six.sendto(b"six", ("::1", number))
        four.sendto(b"four", ("127.0.0.1", number))
        port.doRead()
        self.assertEqual(self.protocol.seen, [(b"six", six.getsockname()[:2]), (b"four", four.getsockname())])
        for (_, address), peer in zip(self.protocol.seen, (six, four), strict=True):
            port.write(b"answer", address)
            self.assertEqual(peer.recvfrom(100)[0], b"answer")
