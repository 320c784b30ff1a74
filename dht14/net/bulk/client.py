"""The client side of the bulk channel: a pool of kept-alive connections, one to a peer."""

from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.net.bulk.client_connection import (
    CONNECT_TIMEOUT,
    BulkConnection,
    PendingTransfer,
    SingleConnection,
)
from dht14.net.bulk.deadlines import Deadlines
from dht14.net.bulk.metrics import BulkClientMetrics
from dht14.net.bulk.tls import NodeTls, WholeWrites
from dht14.net.log_limiter import LogLimiter
from dht14.security.identity import VerifyProof
from dht14.wire.messages import Reply

MAX_CONNECTIONS = 128


class BulkClient:
    """The `Bulk` of a node: a pool of connections, kept while they are used."""

    log = Logger()

    def __init__(
        self, tls: NodeTls, verify_proof: VerifyProof, reactor: Any, source: str | None = None
    ) -> None:
        """`source` is the local address to connect from; None: the host chooses."""
        self.verify_proof = verify_proof
        self.reactor = reactor
        self.metrics = BulkClientMetrics()
        self._tls = tls
        self._source = source
        self._connections: OrderedDict[Contact, BulkConnection] = OrderedDict()
        """The least recently used first."""
        self._log_limiter = LogLimiter(reactor.seconds())
        self._deadlines = Deadlines(reactor)
        self._stopped = False

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """As `Bulk.push`."""
        return self._transfer(contact, PendingTransfer(ticket, value, len(value), self.reactor.seconds()))

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """As `Bulk.fetch`."""
        return self._transfer(contact, PendingTransfer(ticket, b"", length, self.reactor.seconds()))

    def stop(self) -> None:
        """Cut all connections. All transfers fail, including later ones."""
        self._stopped = True
        for connection in list(self._connections.values()):
            connection.close()

    def _transfer(self, contact: Contact, transfer: PendingTransfer) -> "Deferred[Any]":
        connection = self._connections.get(contact) or self._open(contact)
        result = fail(CallFailed()) if connection is None else connection.enqueue(transfer)
        return result.addCallbacks(self._succeeded, self._failed, (transfer,), errbackArgs=(transfer,))

    def _succeeded(self, result: Any, transfer: PendingTransfer) -> Any:
        if transfer.value:
            self.metrics.pushed += 1
            self.metrics.bytes_sent += transfer.length
        else:
            self.metrics.fetched += 1
            self.metrics.bytes_received += transfer.length
        return result

    def _failed(self, failure: Failure, transfer: PendingTransfer) -> Failure:
        if transfer.value:
            self.metrics.failed_pushes += 1
        else:
            self.metrics.failed_fetches += 1
        return failure

    def _open(self, contact: Contact) -> BulkConnection | None:
        """Open a connection, if the peer's key is known and the pool has room."""
        if self._stopped or not contact.proof or not self._make_room():
            return None
        connection = self._connections[contact] = BulkConnection(self, contact)
        self._deadlines.add(connection)
        host, port = contact.address
        factory = TLSMemoryBIOFactory(self._tls, True, SingleConnection(connection), self.reactor)
        factory.protocol = WholeWrites
        bind = None if self._source is None else (self._source, 0)
        self.metrics.opened += 1
        connection.connector = self.reactor.connectTCP(
            host, port, factory, timeout=CONNECT_TIMEOUT, bindAddress=bind
        )
        return connection

    def _make_room(self) -> bool:
        """Whether the pool has room for a connection; a full pool closes an idle one for it."""
        if len(self._connections) >= MAX_CONNECTIONS:
            idle = next((connection for connection in self._connections.values() if connection.idle), None)
            if idle is not None:
                idle.close()
        return len(self._connections) < MAX_CONNECTIONS

    def connection_used(self, connection: BulkConnection) -> None:
        """A transfer was sent on this connection."""
        self._connections.move_to_end(connection.contact)

    def connection_closed(self, connection: BulkConnection) -> None:
        """A connection has ended."""
        del self._connections[connection.contact]
        self._deadlines.remove(connection)

    def peer_refused(self, contact: Contact, reason: str) -> None:
        """Count and log a peer that has another key or breaks the protocol."""
        self.metrics.refused += 1
        if self._log_limiter.may_log(contact.address, self.reactor.seconds()):
            self.log.warn(
                "Closing the bulk connection to {host} port {port}: {reason}. Further cases of this peer are "
                "only counted until there has been none for a minute.",
                event="bulk.outgoing_closed",
                host=contact.address[0],
                port=contact.address[1],
                reason=reason,
            )
