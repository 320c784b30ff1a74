import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from dht14.net.tcp_port import TcpPort
from tests.process.ports import free_port


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class Listener(Protocol):
    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)


class TcpPortTests(TestCase):
    async def hear(self, port: int) -> bytes:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        listener: Listener = await connectProtocol(endpoint, Listener())
        return await listener.heard

    async def test_served(self) -> None:
        """A client that connects before there is a server waits, and is served then."""
        number = free_port()
        port = TcpPort(("127.0.0.1", number), reactor)
        early = Deferred.fromCoroutine(self.hear(number))
        port.serve(Factory.forProtocol(Greeting))
        self.assertEqual(await early, b"hello")
        await port.close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", number))

    async def test_both_families(self) -> None:
        """The IPv6 wildcard accepts IPv4 connections too."""
        number = free_port()
        port = TcpPort(("::", number), reactor)
        port.serve(Factory.forProtocol(Greeting))
        self.assertEqual(await self.hear(number), b"hello")
        await port.close()

    def test_in_use(self) -> None:
        """An address in use raises OSError, and no socket stays open."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.assertRaises(OSError, TcpPort, other.getsockname(), reactor)

    async def test_never_served(self) -> None:
        """A port without a server releases its address at once."""
        number = free_port()
        port = TcpPort(("127.0.0.1", number), reactor)
        await port.close()
        TcpPort(("127.0.0.1", number), reactor)._socket.close()
