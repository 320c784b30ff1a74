from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.net.api.frame_timeout import FRAME_TIMEOUT
from dht14.net.api.incoming import IncomingRequests
from dht14.wire.api_messages import Get, Put, encode_get, encode_put

KEY = bytes(32)
GET, PUT = encode_get(KEY), encode_put(60, 0, KEY, b"value")


class IncomingRequestsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.too_slow: list[float] = []
        self.incoming = IncomingRequests(self.clock, lambda: self.too_slow.append(self.clock.seconds()))

    def taken(self) -> list[type]:
        found = []
        while (request := self.incoming.take()) is not None:
            found.append(type(request))
        return found

    def test_order(self) -> None:
        """Requests come in their order, however the bytes are cut; one that is put back comes first."""
        for byte in GET + PUT:
            self.incoming.feed(bytes([byte]))
        first = self.incoming.take()
        assert first is not None
        self.incoming.put_back(first)
        self.assertIs(self.incoming.take(), first)
        self.assertEqual(self.taken(), [Put])

    def test_malformed(self) -> None:
        """Bytes that are no request raise `Malformed`."""
        self.incoming.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertRaises(Malformed, self.incoming.take)

    def test_forget(self) -> None:
        """All is forgotten, or all but PUTs."""
        self.incoming.feed(GET + PUT + GET)
        self.incoming.put_back(Get(KEY))
        self.incoming.forget_gets()
        self.assertEqual(self.taken(), [Put])
        self.incoming.feed(PUT)
        self.incoming.forget()
        self.assertEqual(self.taken(), [])

    def test_too_slow(self) -> None:
        """A frame that has begun must be whole in time, while the connection is read."""
        self.incoming.reading(True)
        self.clock.advance(2 * FRAME_TIMEOUT)
        self.incoming.feed(GET[:5])
        self.incoming.reading(False)
        self.clock.advance(2 * FRAME_TIMEOUT)
        self.assertEqual(self.too_slow, [])
        self.incoming.reading(True)
        self.clock.advance(FRAME_TIMEOUT)
        self.assertEqual(len(self.too_slow), 1)
