"""The VoidPhone API: a TCP server in front of a node's values."""

from typing import Any

from twisted.internet import protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

from dht14.net.api.clients import ApiClients, ApiLimits
from dht14.net.api.connection import ApiConnection
from dht14.net.api.replies import PutGet

READ_BYTES = 16 * 1024
"""What one read takes at most: with a thousand clients that are held back, what was read too early counts."""

__all__ = ["ApiFactory", "ApiLimits", "PutGet"]


class ApiFactory(protocol.Factory):
    """Lets clients in and makes their connections.

    With `answers_puts` false a PUT gets no reply at all, as the VoidPhone specification has it.
    """

    noisy = False

    def __init__(
        self, node: PutGet, limits: ApiLimits, clock: IReactorTime, *, answers_puts: bool = True
    ) -> None:
        self.node = node
        """Whom requests go to."""
        self.clock = clock
        self.answers_puts = answers_puts
        self.clients = ApiClients(limits, clock)
        self.metrics = self.clients.metrics
        self.log_limiter = self.clients.log_limiter
        self._connections: set[ApiConnection] = set()
        self._closed: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> ApiConnection | None:
        assert isinstance(addr, (IPv4Address, IPv6Address))
        client = self.clients.admit(addr.host)
        return None if client is None else ApiConnection(self, client)

    def connection_opened(self, connection: ApiConnection) -> None:
        """A connection stands."""
        transport: Any = connection.transport
        transport.bufferSize = READ_BYTES
        self._connections.add(connection)

    def work_done(self, connection: ApiConnection) -> None:
        """A connection is gone and its work is done."""
        self._connections.discard(connection)
        if not self._connections and self._closed is not None:
            if self._patience is not None and self._patience.active():
                self._patience.cancel()
            closed, self._closed = self._closed, None
            closed.callback(None)

    def close(self, patience: float = 2.0) -> "Deferred[None]":
        """End all connections; to be called when the port is closed.

        What is at work may take `patience` seconds, then it is answered with FAILURE. Who did not take
        his replies after as long again is cut off.
        """
        if not self._connections:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed = closed
        self._patience = self.clock.callLater(patience, self._give_up, patience)
        for connection in list(self._connections):
            connection.stop()
        return closed

    def _give_up(self, patience: float) -> None:
        self._patience = self.clock.callLater(patience, self._abort)
        for connection in list(self._connections):
            connection.give_up()

    def _abort(self) -> None:
        for connection in list(self._connections):
            connection.abort()
