"""The VoidPhone API: a TCP server through which clients reach the node."""

from typing import Any

from twisted.internet import protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

from dht14.net.api.clients import ApiLimits, ClientAccounts
from dht14.net.api.connection import ApiConnection
from dht14.net.api.replies import PutGet
from dht14.node.timers import cancel_timer

READ_BYTES = 16 * 1024
"""The limit of one read: with a thousand throttled clients, bytes that were read too early add up."""


class ApiFactory(protocol.Factory):
    """Accepts clients and makes their connections.

    If `answers_puts` is false a PUT gets no reply, as in the VoidPhone specification.
    """

    noisy = False

    def __init__(
        self, node: PutGet, limits: ApiLimits, clock: IReactorTime, *, answers_puts: bool = True
    ) -> None:
        self.node = node
        """What requests are handed to."""
        self.clock = clock
        self.answers_puts = answers_puts
        self.accounts = ClientAccounts(limits, clock)
        self.metrics = self.accounts.metrics
        self.log_limiter = self.accounts.log_limiter
        self._connections: set[ApiConnection] = set()
        self._closed: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> ApiConnection | None:
        assert isinstance(addr, (IPv4Address, IPv6Address))
        account = self.accounts.admit(addr.host)
        return None if account is None else ApiConnection(self, account)

    def connection_opened(self, connection: ApiConnection) -> None:
        """A client has connected."""
        transport: Any = connection.transport
        transport.bufferSize = READ_BYTES
        self._connections.add(connection)

    def work_done(self, connection: ApiConnection) -> None:
        """A connection has ended, and its last request is done."""
        self._connections.discard(connection)
        if not self._connections and self._closed is not None:
            cancel_timer(self._timer)
            closed, self._closed = self._closed, None
            closed.callback(None)

    def close(self, timeout: float = 2.0) -> "Deferred[None]":
        """End all connections, after the port is closed; fires when they have ended.

        Requests under way may take `timeout` seconds, then they are answered with FAILURE. A client that has
        not read its replies after another `timeout` seconds is cut off.
        """
        if not self._connections:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed = closed
        self._timer = self.clock.callLater(timeout, self._give_up, timeout)
        for connection in list(self._connections):
            connection.stop()
        return closed

    def _give_up(self, timeout: float) -> None:
        self._timer = self.clock.callLater(timeout, self._abort)
        for connection in list(self._connections):
            connection.give_up()

    def _abort(self) -> None:
        for connection in list(self._connections):
            connection.abort()
