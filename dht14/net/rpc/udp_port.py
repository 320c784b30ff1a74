"""The UDP port of a node: Twisted's, with a limit for one turn and large buffers.

Twisted's port reads until the socket is empty or 256 KiB were read. Of datagrams of 100 bytes that is 2,600,
or 20 ms of work in one turn of the reactor, and empty ones do not count at all: a flood would make all
clients wait. Here a turn ends after `DATAGRAMS_PER_TURN`, or after `TURN_SECONDS` if they are expensive: 256
FINISHes or signed records take 50 ms.
"""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger

from dht14.kademlia.contact import Address
from dht14.net.log_limiter import LogLimiter

DATAGRAMS_PER_TURN = 256
TURN_SECONDS = 0.005
RECEIVE_BUFFER = 4 << 20
"""Bytes requested from the kernel: 3,600 full datagrams. Linux grants up to net.core.rmem_max."""

SEND_BUFFER = 4 << 20
"""Bytes requested from the kernel, which grants up to net.core.wmem_max. Datagrams to a host of the same
segment that has just died wait here for its hardware address, for 3 s; while the buffer is full nothing can
be sent to any node."""

MAX_READ = 2_048
"""Bytes. No valid datagram is longer; the kernel cuts off the rest of a longer one."""

_MAPPED = "::ffff:"


class UdpPort(Port):
    """One bound UDP socket. An IPv6 wildcard socket also serves IPv4, with plain IPv4 addresses."""

    log = Logger()

    def __init__(self, address: Address, protocol: DatagramProtocol, reactor: Any) -> None:
        host, port = address
        super().__init__(port, protocol, interface=host, maxPacketSize=MAX_READ, reactor=reactor)
        self._seconds: Callable[[], float] = reactor.seconds
        self._log_limiter = LogLimiter(reactor.seconds())
        self._made: socket.socket | None = None

    def createInternetSocket(self) -> socket.socket:
        """Make the socket to bind (Twisted calls)."""
        skt: socket.socket = super().createInternetSocket()
        self._made = skt
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self.addressFamily == socket.AF_INET6:
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        else:
            # IPv4 addresses need no change: call the socket directly. Functions in between cost a tenth of an
            # answer.
            self.write = skt.sendto  # type: ignore[method-assign, assignment]
        return skt

    def bind(self) -> None:
        """Bind the address; nothing is read before `serve`. Raises `CannotListenError`."""
        try:
            self._bindSocket()
        except CannotListenError:
            # Twisted leaves it open until it is collected.
            if self._made is not None:
                self._made.close()
            raise

    def serve(self, protocol: DatagramProtocol) -> None:
        """Deliver datagrams to `protocol`, including those that came since `bind`."""
        self.protocol = protocol
        self._connectToProtocol()

    def close(self) -> "Deferred[Any]":
        """Release the address, whether it was served or not."""
        if self.protocol.numPorts:
            return maybeDeferred(self.stopListening)
        self.connected = 0
        self.socket.close()
        return succeed(None)

    def doRead(self) -> None:
        """Read a limited number of datagrams (Twisted calls, and calls again for the rest)."""
        receive = self.socket.recvfrom
        received = self.protocol.datagramReceived
        is_ipv4 = self.addressFamily == socket.AF_INET
        seconds = self._seconds
        until = seconds() + TURN_SECONDS
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, address = receive(MAX_READ)
            except OSError:
                # No datagram is there, or an earlier one could not be delivered, or memory is short. If this
                # error left the method, Twisted would close the port for good.
                return
            source = address if is_ipv4 else unmapped(address[0], address[1])
            if source is None:
                continue
            try:
                received(datagram, source)
            except Exception as bug:  # noqa: BLE001 - no error may close the port
                if self._log_limiter.may_log(type(bug).__name__, seconds()):
                    self.log.failure(
                        "A datagram could not be processed; this is a bug.", event="datagram.bug"
                    )
            if self.maxThroughput < 0:
                return  # The port was closed meanwhile.
            if seconds() >= until:
                return

    def write(self, datagram: bytes, addr: Address | None = None) -> None:
        """Send one datagram. Raises `OSError` if that is not possible now or at all."""
        assert addr is not None
        if self.addressFamily == socket.AF_INET6 and ":" not in addr[0]:
            addr = (_MAPPED + addr[0], addr[1])
        self.socket.sendto(datagram, addr)


def unmapped(host: str, port: int) -> Address | None:
    """Return the address of a sender as other nodes write it; None for a link-local address: it names an
    interface of this host, and other hosts cannot use it."""
    return None if "%" in host else (host.removeprefix(_MAPPED), port)
