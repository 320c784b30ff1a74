"""The TCP side of an API connection: a write buffer, reading that can stop, and two ways to close."""

from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport

from dht14.node.timers import cancel_timer

WRITE_BYTES = 64 * 1024
"""Replies are collected up to this size and written at once."""


class TcpTransport(ITCPTransport, IConsumer, IPushProducer):
    """The interfaces that Twisted's TCP transports provide; Twisted has no one interface for all of them."""


class TcpStream:
    """A transport in use. Once it is closed or lost, the calls have no effect."""

    def __init__(self, transport: TcpTransport, producer: IPushProducer, clock: IReactorTime) -> None:
        """`producer` is paused while the client leaves too much unread."""
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.registerProducer(producer, True)
        self._transport = transport
        self._clock = clock
        self._is_open = True
        self._is_reading = True
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._linger: IDelayedCall | None = None

    def write(self, reply: bytes) -> None:
        """Write a reply with others: at `flush`, or when there are `WRITE_BYTES`."""
        self._unwritten.append(reply)
        self._unwritten_bytes += len(reply)
        if self._unwritten_bytes >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._unwritten_bytes and self._is_open:
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0

    def set_reading(self, is_reading: bool) -> None:
        """Read, or leave the bytes to TCP, which then slows the client down."""
        if is_reading != self._is_reading and self._is_open:
            self._is_reading = is_reading
            if is_reading:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    def close(self) -> None:
        """Close after the last reply."""
        self._is_open = False
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def close_lingering(self, seconds: float) -> None:
        """Close this half after the last reply; discard what comes until the client closes the other one, and
        cut the connection if it has not within `seconds`.

        If both halves were closed with bytes unread, the kernel would discard the replies on their way.
        """
        self._is_open = False
        self._transport.unregisterProducer()
        self._transport.loseWriteConnection()
        self._transport.resumeProducing()
        self._linger = self._clock.callLater(seconds, self._transport.abortConnection)

    def lost(self) -> None:
        """The connection has ended."""
        self._is_open = False
        cancel_timer(self._linger)
