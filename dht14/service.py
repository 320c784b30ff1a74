"""The composition root of a real node: opens its ports around a stack and returns the service."""

import random
import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from dht14.data_dir import DataDir
from dht14.errors import AddressUnavailable, Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.net.api import ApiFactory, ApiLimits
from dht14.net.resolver import resolver
from dht14.net.stack import Stack, StackOptions, build_stack
from dht14.net.udp import UdpPort
from dht14.node.join import Retries
from dht14.node.node import Policy
from dht14.node.periodic import Periodic
from dht14.settings import PutReply, Role, Settings
from dht14.storage.database import Database
from dht14.storage.record import CLOCK_TOLERANCE, Record
from dht14.values_dir import Values, unlock

CONTACTS_INTERVAL = 1.5
"""Seconds between two looks at whether the saved contacts are still those of the table."""

BACKLOG = 256
"""API connections that wait to be accepted: fewer make clients who connect in a loop wait for a resend of
their SYN, more pile up PUTs of clients that have gone again."""

OPENING_PATIENCE = 0.8
"""Seconds that a start waits for the values. A large database takes longer to check: then the node begins
without them, and they come as soon as they can be trusted."""

SAMPLE_KEY = b"12345678901234567890123456789012"
"""Published with the older implementation: whoever reads the disk has it too."""


def build_node(settings: Settings, reactor: Any, role: Role) -> MultiService:
    """A node, its lock taken and its ports bound; it begins to work when the service is started.

    Raises `StartError`, with nothing left open, when the directory, the identity or a port cannot be had.
    """
    data_dir = DataDir.open(settings.node.data_dir)
    try:
        return _NodeService(settings, reactor, role, data_dir)
    except BaseException:
        data_dir.close()
        raise


class _NodeService(MultiService):
    """One node from start to stop. Owns its ports and its data directory."""

    log = Logger()

    def __init__(self, settings: Settings, reactor: Any, role: Role, data_dir: DataDir) -> None:
        super().__init__()
        self._reactor = reactor
        self._data_dir = data_dir
        self._role = role
        self._database: Database | None = None
        rng = random.SystemRandom()
        node_id = data_dir.identity().node_id
        if role is Role.NODE:
            values = unlock(data_dir, settings.security.encryption_key, node_id)
            self._tell_of(values, settings)
        self._stack = build_stack(
            node_id=node_id,
            clock=reactor,
            rng=rng,
            resolve=resolver(reactor),
            options=_stack_options(settings, role),
            saved=self._saved_contacts(),
            make_store=lambda *options: self._make_database(values, *options),
        )
        self._saved_change = 0
        self._api: ApiFactory | None = None
        self._p2p_port = _listen_udp(settings.node.p2p_address, self._stack, reactor)
        self._api_port: Any = None
        if role is Role.NODE:
            self._api = _api_factory(settings, self._stack, reactor)
            try:
                self._api_port = _listen_tcp(settings.node.api_address, self._api, reactor)
            except AddressUnavailable:
                self._p2p_port.stopReading()
                self._p2p_port.socket.close()
                raise
        keep_contacts = Periodic("save contacts", CONTACTS_INTERVAL, self._save_contacts, reactor, rng)
        self._work = MultiService()
        for service in (*self._stack.services, keep_contacts):
            service.setServiceParent(self._work)
        self._patience: IDelayedCall | None = None

    def _make_database(
        self,
        values: Values,
        node_id: int,
        limit: int,
        answers_for: Callable[[Record], bool],
        max_ttl: float,
    ) -> Database:
        self._database = Database(
            values.path,
            values.format,
            node_id,
            limit,
            max_ttl + CLOCK_TOLERANCE,
            answers_for,
            self._reactor.callFromThread,
            DatabaseLog(),
        )
        return self._database

    def _tell_of(self, values: Values, settings: Settings) -> None:
        if settings.security.encryption_key == SAMPLE_KEY:
            self.log.warn(
                "[security] encryption_key is the published sample: the values on this disk are open to "
                "everybody who can read it. Set a key of your own (dht14 rekey)."
            )
        if values.set_aside:
            DatabaseLog().set_aside(values.set_aside)

    def startService(self) -> None:
        """Open the values, then join the network and begin the upkeep."""
        super().startService()
        if self._database is None:
            self._begin()
            return
        # What comes in the meantime waits in the queues of the kernel.
        for port in self._ports():
            port.stopReading()
        self._patience = self._reactor.callLater(OPENING_PATIENCE, self._begin)
        self._database.open(self._database_opened)

    def _ports(self) -> list[Any]:
        return [self._p2p_port] + ([self._api_port] if self._api_port is not None else [])

    def _database_opened(self) -> None:
        assert self._database is not None and self._patience is not None
        self._database.expire(self._reactor.seconds())
        if self._patience.active():
            self._patience.cancel()
            self._begin()

    def _begin(self) -> None:
        for port in self._ports():
            port.startReading()
        host, port = self._p2p_port.getHost().host, self._p2p_port.getHost().port
        self.log.info(
            "This {role} listens on {host} port {port} (UDP).", role=_NAMES[self._role], host=host, port=port
        )
        if self._api_port is not None:
            api = self._api_port.getHost()
            self.log.info("The API listens on {host} port {port} (TCP).", host=api.host, port=api.port)
        self._work.setServiceParent(self)

    def stopService(self) -> "Deferred[Any]":
        """Finish what clients asked for, then stop. Fires when the ports are closed and the lock is free."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        if self._api_port is not None and self._api is not None:
            await maybeDeferred(self._api_port.stopListening)
            await self._api.close()
        stopped = maybeDeferred(super().stopService)
        # Passes that are at work end now: a refresh would go on for minutes where nobody answers.
        self._stack.rpc.stop()
        await stopped
        await maybeDeferred(self._p2p_port.stopListening)
        try:
            self._save_contacts()
        finally:
            if self._database is not None:
                self._database.close()
            self._data_dir.close()

    def _saved_contacts(self) -> tuple[Contact, ...]:
        try:
            return self._data_dir.load_contacts()
        except Malformed as error:
            self.log.warn("The saved contacts are of no use: {reason}.", reason=str(error))
            return ()

    def _save_contacts(self) -> None:
        table = self._stack.table
        if table.changes != self._saved_change and len(table):
            self._data_dir.save_contacts(table.contacts())
            self._saved_change = table.changes


class DatabaseLog:
    """What the database has to say to an operator; a `Watcher`."""

    log = Logger()

    def opened(self, records: int) -> None:
        """As `Watcher`."""
        self.log.info("The values are open: {records} of them.", records=records)

    def set_aside(self, path: str) -> None:
        """As `Watcher`."""
        self.log.critical(
            "The values were damaged. They are at {path} now, and the node begins anew: what was in them comes "
            "back from other holders.",
            path=path,
        )

    def record_damaged(self, total: int) -> None:
        """As `Watcher`."""
        self.log.error("A damaged record is not used. {total} so far.", total=total)

    def writing_failed(self, reason: str) -> None:
        """As `Watcher`."""
        self.log.error("Values cannot be written: {reason}. PUTs fail until they can.", reason=reason)

    def writing_resumed(self) -> None:
        """As `Watcher`."""
        self.log.info("Values can be written again.")


_NAMES = {Role.NODE: "node", Role.BOOTSTRAP: "bootstrap node"}


def _stack_options(settings: Settings, role: Role) -> StackOptions:
    node, storage = settings.node, settings.storage
    return StackOptions(
        policy=Policy(storage.replication, storage.min_ttl, storage.max_ttl, storage.default_ttl),
        storage_limit=storage.storage_limit if role is Role.NODE else None,
        cleanup_interval=node.cleanup_interval,
        refresh_interval=storage.refresh_interval,
        seeds=settings.bootstrap,
        retries=Retries(node.bootstrap_retry_interval, node.max_bootstrap_retries),
    )


def _api_factory(settings: Settings, stack: Stack, reactor: Any) -> ApiFactory:
    limits = ApiLimits(
        settings.api.api_allow,
        settings.rate_limiter.requests_per_second,
        settings.rate_limiter.burst_size,
        settings.api.max_connections,
        settings.api.max_connections_per_client,
    )
    return ApiFactory(stack.node, limits, reactor, answers_puts=settings.api.put_reply is PutReply.SUCCESS)


def _listen_udp(address: Address, stack: Stack, reactor: Any) -> UdpPort:
    port = UdpPort(_numeric("p2p_address", address, socket.SOCK_DGRAM), stack.rpc, reactor)
    try:
        port.startListening()
    except CannotListenError as error:
        raise _unavailable("p2p_address", address, error.socketError) from None
    return port


def _listen_tcp(address: Address, factory: ApiFactory, reactor: Any) -> Any:
    host, port = _numeric("api_address", address, socket.SOCK_STREAM)
    try:
        return reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        raise _unavailable("api_address", address, error.socketError) from None


def _numeric(option: str, address: Address, kind: int) -> Address:
    """The first address of a host of ours; before the reactor runs there is nobody to hold up."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _unavailable(option, address, error) from None
    return str(found[0][4][0]), port


def _unavailable(option: str, address: Address, error: OSError) -> AddressUnavailable:
    return AddressUnavailable(
        f"[node] {option}: cannot listen on {address[0]} port {address[1]} ({error.strerror}); "
        "stop what uses it, or give another address of this host"
    )
