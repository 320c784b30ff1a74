from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.site import MAX_CONNECTIONS
from dht14.net.admin.streams import MAX_LISTENERS, STALL_TIMEOUT
from tests.net.admin.case import GONE, AdminCase, parsed


class SiteTests(AdminCase):
    def test_unknown(self) -> None:
        """An unknown path is 404 as JSON, with a hint."""
        for path in (
            "/nothing",
            "/v1",
            "/v1/nothing",
            "/v1/status/more",
            "/v1/values",
            "/v1/values/",
            "/v1/values/a/b",
        ):
            response = self.ask("GET", path)
            self.assertEqual((path, response.status, set(response.content)), (path, 404, {"error", "hint"}))

    def test_verbs(self) -> None:
        """A verb that is not possible is 405, and the answer lists those that are."""
        response = self.ask("DELETE", "/v1/status")
        self.assertEqual((response.status, response.headers["allow"]), (405, "GET, HEAD"))

    def test_head(self) -> None:
        """HEAD is answered as GET, without the body."""
        response = self.ask("HEAD", "/healthz")
        self.assertEqual(
            (response.status, response.headers["content-length"], response.body), (200, "3", b"")
        )

    def test_body_limit(self) -> None:
        """A body longer than the longest value is refused, whether it says its length or not."""
        channel, transport = self.send("PUT", "/v1/values/k", b"", Content_Length=str(MAX_VALUE + 1))
        channel.dataReceived(bytes(MAX_VALUE + 1))
        self.assertEqual(parsed(transport.value()).status, 413)
        channel, transport = self.send("PUT", "/v1/values/k", Content_Length="", Transfer_Encoding="chunked")
        piece = b"x" * 32_768
        for _ in range(3):
            channel.dataReceived(b"8000\r\n" + piece + b"\r\n")
        channel.dataReceived(b"0\r\n\r\n")
        self.assertEqual(parsed(transport.value()).status, 413)
        self.assertEqual(self.view.puts, [])

    def test_connection_limit(self) -> None:
        """One connection too many is refused; one that ends makes room."""
        channels = [self.connect()[0] for _ in range(MAX_CONNECTIONS)]
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
        channels[0].connectionLost(GONE)
        self.connect()


class EventTests(AdminCase):
    def test_stream(self) -> None:
        """Events are sent as they come, and end with the connection."""
        channel, transport = self.send("GET", "/v1/events")
        self.assertIn(b"text/event-stream", transport.value())
        self.assertIn(b'event: status\ndata: {"n": 1}\n\n', transport.value())
        channel.connectionLost(GONE)
        self.assertTrue(self.view.streams[0].called, "the view was stopped")

    def test_listeners(self) -> None:
        """One listener too many gets 429."""
        channels = [self.send("GET", "/v1/events")[0] for _ in range(MAX_LISTENERS)]
        self.assertEqual(self.ask("GET", "/v1/events").status, 429)
        channels[0].connectionLost(GONE)
        _, transport = self.send("GET", "/v1/events")
        self.assertIn(b"event: status", transport.value())

    def test_slow_reader(self) -> None:
        """A client that reads nothing gets no more events; if that lasts it is disconnected."""
        _, transport = self.send("GET", "/v1/events")
        producer_of(transport).pauseProducing()
        self.view.streams[0].callback(None)
        sent = len(transport.value())
        self.clock.advance(STALL_TIMEOUT - 1)
        self.assertEqual((len(transport.value()), len(self.view.streams)), (sent, 1))
        self.assertFalse(transport.disconnecting or transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)

    def test_reads_again(self) -> None:
        """A client that reads again gets what came in between."""
        channel, transport = self.send("GET", "/v1/events")
        producer_of(transport).pauseProducing()
        self.view.streams[0].callback(None)
        self.assertNotIn(b'{"n": 3}', transport.value())
        producer_of(transport).resumeProducing()
        self.assertIn(b'{"n": 3}', transport.value())
        self.clock.advance(2 * STALL_TIMEOUT)
        self.assertFalse(transport.disconnected)
        channel.connectionLost(GONE)

    def test_gone_while_slow(self) -> None:
        """A client that leaves while it reads nothing frees its connection, and its view is stopped."""
        channel, transport = self.send("GET", "/v1/events")
        producer_of(transport).pauseProducing()
        self.view.streams[0].callback(None)
        channel.connectionLost(GONE)
        self.assertTrue(self.view.is_closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


def producer_of(transport: StringTransport) -> Any:
    """Return what Twisted tells whether the client reads."""
    return transport.producer
