from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.tcp_stream import WRITE_BYTES, TcpStream
from tests.net.api.case import Wire


class TcpStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.wire = Clock(), Wire()
        self.stream = TcpStream(self.wire, self.wire, self.clock)  # type: ignore[arg-type]

    def test_together(self) -> None:
        """Replies are written in one piece, in their order; without any, nothing is written."""
        self.stream.flush()
        for reply in (b"one", b"", b"two"):
            self.stream.write(reply)
        self.assertEqual(self.wire.writes, 0)
        self.stream.flush()
        self.stream.flush()
        self.assertEqual((self.wire.value(), self.wire.writes), (b"onetwo", 1))

    def test_bounded(self) -> None:
        """Replies are written as soon as there is enough of them: they do not add up in the buffer."""
        for _ in range(5):
            self.stream.write(bytes(WRITE_BYTES // 2))
        self.assertEqual((len(self.wire.value()), self.wire.writes), (2 * WRITE_BYTES, 2))
        self.stream.flush()
        self.assertEqual(len(self.wire.value()), 5 * WRITE_BYTES // 2)

    def test_lingering_close(self) -> None:
        """This half is closed, what comes is read, and a client that does not close its half is cut off."""
        self.stream.set_reading(False)
        self.stream.close_lingering(5.0)
        self.assertEqual((self.wire.said, self.wire.reading), (["write side closed"], True))
        self.clock.advance(5.0)
        self.assertEqual(self.wire.said[1:], ["aborted"])

    def test_after_the_end(self) -> None:
        """A transport that is closed or lost is not used any more, and no timer is left when it is lost."""
        for end in (TcpStream.close, TcpStream.lost, lambda stream: stream.close_lingering(5.0)):
            self.setUp()
            end(self.stream)
            self.stream.write(bytes(WRITE_BYTES))
            self.stream.set_reading(False)
            self.assertEqual((self.wire.writes, self.wire.reading), (0, True))
            self.stream.lost()
            self.assertEqual(self.clock.getDelayedCalls(), [])
