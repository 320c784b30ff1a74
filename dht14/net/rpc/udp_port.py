"""The UDP port of a node: Twisted's, with a bound on one turn and deep buffers.

Twisted's port reads until the socket is empty or 256 KiB were read. With datagrams of 100 bytes that is
2,600 of them, 20 ms of work in one turn of the reactor, and empty ones never count. A flood would make
every client wait; here a turn ends after `DATAGRAMS_PER_TURN`, or after `TURN_SECONDS` where they cost more than
others: of FINISHes or of signed records 256 take 50 ms.
"""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger

from dht14.kademlia.contact import Address
from dht14.net.log_limiter import LogLimiter

DATAGRAMS_PER_TURN = 256
TURN_SECONDS = 0.005
"""Seconds."""
RECEIVE_BUFFER = 4 << 20
"""Bytes asked of the kernel: 3,600 full datagrams; Linux grants up to net.core.rmem_max."""

SEND_BUFFER = 4 << 20
"""Bytes asked of the kernel, which grants up to net.core.wmem_max. What is sent to a host of the same segment that
has just died waits in it, for 3 s, for a hardware address; when it is full, nothing can be sent to anybody."""

MAX_READ = 2_048
"""Bytes; no longer datagram is valid, and the kernel cuts off the rest of one that is."""

_MAPPED = "::ffff:"


class UdpPort(Port):
    """One bound UDP socket. An IPv6 wildcard socket speaks IPv4 too, with plain IPv4 addresses."""

    log = Logger()

    def __init__(self, address: Address, protocol: DatagramProtocol, reactor: Any) -> None:
        host, port = address
        super().__init__(port, protocol, interface=host, maxPacketSize=MAX_READ, reactor=reactor)
        self._seconds: Callable[[], float] = reactor.seconds
        self._log_limiter = LogLimiter(reactor.seconds())

    def createInternetSocket(self) -> socket.socket:
        """The socket to bind."""
        skt: socket.socket = super().createInternetSocket()
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self.addressFamily == socket.AF_INET6:
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        else:
            # Where addresses need no change the socket itself does it: to get there through functions is a
            # tenth of what an answer costs.
            self.write = skt.sendto  # type: ignore[method-assign, assignment]
        return skt

    def bind(self) -> None:
        """Take the address; nothing is read before `serve`. Raises `CannotListenError`."""
        self._bindSocket()

    def serve(self, protocol: DatagramProtocol) -> None:
        """Let `protocol` have what comes, what has come since `bind` included."""
        self.protocol = protocol
        self._connectToProtocol()

    def close(self) -> "Deferred[Any]":
        """Give the address back, whether anybody was served or not."""
        if self.protocol.numPorts:
            return maybeDeferred(self.stopListening)
        self.connected = 0
        self.socket.close()
        return succeed(None)

    def doRead(self) -> None:
        """Datagrams are there. Reads a bounded number; the reactor calls again for the rest."""
        receive = self.socket.recvfrom
        received = self.protocol.datagramReceived
        is_ipv4 = self.addressFamily == socket.AF_INET
        seconds = self._seconds
        until = seconds() + TURN_SECONDS
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, address = receive(MAX_READ)
            except OSError:
                # Nothing is there, or word of an earlier datagram that did not arrive, or no memory just
                # now. Twisted would close the port for good if this got out.
                return
            source = address if is_ipv4 else unmapped(address[0], address[1])
            if source is None:
                continue
            try:
                received(datagram, source)
            except Exception as bug:  # noqa: BLE001 - whatever it is, it must not cost us the port
                if self._log_limiter.may_log(type(bug).__name__, seconds()):
                    self.log.failure("A datagram was not handled; this is a bug.")
            if self.maxThroughput < 0:
                return  # The port was closed meanwhile.
            if seconds() >= until:
                return

    def write(self, datagram: bytes, addr: Address | None = None) -> None:
        """Send one datagram; OSError when that is not possible just now or at all."""
        assert addr is not None
        if self.addressFamily == socket.AF_INET6 and ":" not in addr[0]:
            addr = (_MAPPED + addr[0], addr[1])
        self.socket.sendto(datagram, addr)


def unmapped(host: str, port: int) -> Address | None:
    """The address of a sender as others would write it; None where they cannot: link-local addresses, which
    name an interface of this host, mean nothing to anybody else."""
    return None if "%" in host else (host.removeprefix(_MAPPED), port)
