"""The TCP port of the bulk channel: bound together with the other ports, before its server exists."""

import socket
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from dht14.kademlia.contact import Address

BULK_BACKLOG = 256
"""Bulk connections that wait to be accepted."""


class TcpPort:
    """One listening socket. An IPv6 wildcard socket accepts IPv4 connections too."""

    def __init__(self, address: Address, reactor: Any) -> None:
        """Bind the address; connections are accepted only after `serve`. Raises `OSError`."""
        self._reactor = reactor
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._port: IListeningPort | None = None
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self._socket.bind(address)
            self._socket.listen(BULK_BACKLOG)
        except OSError:
            self._socket.close()
            raise

    def serve(self, factory: IProtocolFactory) -> None:
        """Accept connections, including those that came since the port was bound."""
        self._port = self._reactor.adoptStreamPort(self._socket.fileno(), self._family, factory)
        self._socket.close()

    def close(self) -> "Deferred[Any]":
        """Release the address, whether it was served or not."""
        self._socket.close()
        return succeed(None) if self._port is None else maybeDeferred(self._port.stopListening)
