"""Binds the addresses of the configuration. Errors name the option and say what to do."""

import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol

from dht14.errors import AddressUnavailable
from dht14.kademlia.contact import Address
from dht14.net.rpc.udp_port import UdpPort
from dht14.net.tcp_port import TcpPort

API_BACKLOG = 256
"""API connections that wait to be accepted. With fewer, clients that connect in a loop wait for a resend of
their SYN; with more, PUTs of clients that have already gone pile up."""


def bind_udp(option: str, address: Address, reactor: Any) -> UdpPort:
    """Bind a UDP port to the address of `[node] option`. Raises `AddressUnavailable`, as do the functions
    below."""
    port = UdpPort(_numeric(option, address, socket.SOCK_DGRAM), DatagramProtocol(), reactor)
    try:
        port.bind()
    except CannotListenError as error:
        raise _unavailable(option, "UDP", address, error.socketError) from None
    return port


def bind_tcp(option: str, address: Address, reactor: Any) -> TcpPort:
    """Bind a TCP port that has no server yet."""
    try:
        return TcpPort(_numeric(option, address, socket.SOCK_STREAM), reactor)
    except OSError as error:
        raise _unavailable(option, "TCP", address, error) from None


def listen_tcp(option: str, address: Address, factory: IProtocolFactory, reactor: Any) -> Any:
    """Bind a TCP port and serve it with `factory`."""
    host, port = _numeric(option, address, socket.SOCK_STREAM)
    try:
        return reactor.listenTCP(port, factory, backlog=API_BACKLOG, interface=host)
    except CannotListenError as error:
        raise _unavailable(option, "TCP", address, error.socketError) from None


def _numeric(option: str, address: Address, kind: int) -> Address:
    """Resolve a host name of this node to its first address. Blocks: the reactor does not run yet."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        transport = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        raise _unavailable(option, transport, address, error) from None
    return str(found[0][4][0]), port


def _unavailable(option: str, transport: str, address: Address, error: OSError) -> AddressUnavailable:
    return AddressUnavailable(
        f"[node] {option}: cannot listen on {address[0]} {transport} port {address[1]} ({error.strerror}); "
        "stop what uses it, or give another address of this host"
    )
