"""The composition root of a real node: opens its ports around a stack and returns the service."""

import random
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import TaskStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.app.data_dir import DataDir
from dht14.app.database_dir import DatabaseDir, has_values, unlock
from dht14.app.disk_watch import DiskWatch
from dht14.app.options import PutReply, Role, Settings, YesNo
from dht14.app.start import Start, StartPhase
from dht14.app.startup_warnings import tell_of_reach, tell_of_risks
from dht14.app.state_file import StateFile
from dht14.database.database import Database
from dht14.errors import AddressUnavailable, Malformed, StartError
from dht14.kademlia.contact import Contact
from dht14.maintenance.handover import HAND_OVER_TIMEOUT
from dht14.maintenance.periodic import Periodic
from dht14.net.api.factory import ApiFactory, ApiLimits
from dht14.net.api.readiness import Readiness, StartStep
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.server import BulkServer
from dht14.net.bulk.tls import NodeTls
from dht14.net.listen import bind_tcp, bind_udp, listen_tcp
from dht14.net.resolver import resolver
from dht14.net.tcp_port import TcpPort
from dht14.node.join import Retries
from dht14.node.mining import Mining
from dht14.node.put import Policy
from dht14.records.record import Record
from dht14.records.version_floors import MARGIN
from dht14.security.identity import Identity, Puzzle, public_bytes
from dht14.session.acceptor import Limits
from dht14.stack import Stack, StackOptions, build_stack

CONTACTS_INTERVAL = 1.5
"""Seconds between two looks at whether the saved contacts are still those of the table, and the state still is
what was last said of it."""

DISK_INTERVAL = 5.0
"""Seconds between two looks at whether the data directory is still there, and its disk takes values."""

PATIENCE = 0.8
"""Seconds that a node waits for its values before it joins. A large database takes longer to check: then the node
begins without them, and they come as soon as they can be trusted."""


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
        self._settings = settings
        self._reactor = reactor
        self._data_dir = data_dir
        self._disk = DiskWatch(data_dir)
        self._role = role
        self._start = Start(role, reactor, StateFile(data_dir))
        self._puzzle = Puzzle(settings.node.network, settings.security.difficulty)
        self._identity = data_dir.identity(self._puzzle)
        self._mining = Mining(self._puzzle, public_bytes(data_dir.private_key()), reactor)
        self._values: DatabaseDir | None = None
        if role is Role.NODE and (self._identity is not None or has_values(data_dir.path)):
            self._unlock_values()
        self._stack: Stack | None = None
        self._database: Database | None = None
        self._saved_change = 0
        self._work = MultiService()
        self._patience: IDelayedCall | None = None
        self._p2p_port = bind_udp("p2p_address", settings.node.p2p_address, reactor)
        self._probe_port = bind_udp("p2p_address", (settings.node.p2p_address[0], 0), reactor)
        self._bulk_client: BulkClient | None = None
        self._bulk_server: BulkServer | None = None
        self._bulk_port: TcpPort | None = None
        self._api: ApiFactory | None = None
        self._api_port: Any = None
        if role is Role.NODE:
            self._api = _api_factory(settings, reactor, self._start.readiness)
            number = self._p2p_port.getHost().port
            try:
                self._bulk_port = bind_tcp("p2p_address", (settings.node.p2p_address[0], number), reactor)
                self._api_port = listen_tcp("api_address", settings.node.api_address, self._api, reactor)
            except AddressUnavailable:
                self._close_p2p_ports()
                raise

    def _unlock_values(self) -> None:
        origin = self._identity.node_id if self._identity is not None else 0
        self._values = unlock(self._data_dir, self._settings.security.encryption_key, origin)

    def _close_p2p_ports(self) -> "Deferred[Any]":
        ports = (self._p2p_port, self._probe_port, self._bulk_port)
        return gatherResults([port.close() for port in ports if port is not None])

    # Start

    def startService(self) -> None:
        """Search the identity if need be, open the values, then join the network and begin the upkeep."""
        super().startService()
        self._disk.begin()
        tell_of_risks(self._settings)
        if self._api_port is not None:
            tell_of_reach(self._settings)
            api = self._api_port.getHost()
            self.log.info("The API listens on {host} port {port} (TCP).", host=api.host, port=api.port)
        if self._identity is not None:
            self._compose(self._identity)
        else:
            self._start.entered(StartPhase.SEARCHING)
            self._mining.start().addCallback(self._mined).addErrback(self._not_mined)

    def _mined(self, proof: bytes) -> None:
        former = self._data_dir.proof()
        self._identity = self._data_dir.prove(proof, self._puzzle)
        if former is not None:
            self.log.warn(
                "The node id was {former} and is {now} from now on: the old one is too easy to come by for "
                "this network.",
                former=f"{self._puzzle.node_id_of(former):064x}",
                now=f"{self._identity.node_id:064x}",
            )
        if self._role is Role.NODE and self._values is None:
            self._unlock_values()
        self._compose(self._identity)

    def _not_mined(self, failure: Failure) -> None:
        if failure.check(TaskStopped):
            return
        self._start.entered(StartPhase.FAILED)
        if failure.check(StartError):
            # The process lives on, and whoever asks for its health hears that it does not work.
            self.log.critical("The node cannot begin: {reason}", reason=failure.getErrorMessage())
        else:
            self.log.failure("The search for the proof of work has failed; this is a bug.", failure)

    def _compose(self, identity: Identity) -> None:
        """Build the node and, as soon as its values are open, let it work."""
        rng = random.SystemRandom()
        tls = NodeTls(identity.private_key)
        self._bulk_client = BulkClient(tls, self._puzzle.check, self._reactor, self._source())
        options = _stack_options(self._settings, self._role)
        self._stack = build_stack(
            identity=identity,
            check=self._puzzle.check,
            clock=self._reactor,
            wall=time.time,
            rng=rng,
            resolve=resolver(self._reactor),
            bulk=self._bulk_client,
            options=options,
            saved=self._saved_contacts(),
            make_store=self._make_database,
        )
        if self._role is Role.NODE:
            parties_of = options.limits.parties_of
            self._bulk_server = BulkServer(self._stack.responder, tls, parties_of, self._reactor)
        keep_contacts = Periodic("save contacts", CONTACTS_INTERVAL, self._save_contacts, self._reactor, rng)
        look = Periodic("disk", DISK_INTERVAL, self._look_at_disk, self._reactor, rng)
        for service in (*self._stack.services, keep_contacts, look):
            service.setServiceParent(self._work)
        self._start.composed(self._stack)
        if self._database is None:
            self._disk.ready()
            self._begin()
            return
        if self._values is not None and self._values.set_aside:
            self._disk.set_aside(self._values.set_aside)
        if self._values is not None and self._values.is_missing:
            self._disk.missing(self._values.path)
        self._patience = self._reactor.callLater(PATIENCE, self._begin)
        self._database.open(self._database_opened)

    def _source(self) -> str | None:
        """The address that peers know, where the node is bound to one."""
        host = str(self._p2p_port.getHost().host)
        return None if ip_address(host).is_unspecified else host

    def _make_database(
        self,
        own_id: int,
        limit: int,
        answers_for: Callable[[Record], bool],
        max_ttl: float,
        writer_share: float,
    ) -> Database:
        assert self._values is not None
        self._database = Database(
            self._values.path,
            self._values.format,
            own_id,
            limit,
            max_ttl + MARGIN,
            answers_for,
            self._reactor.callFromThread,
            self._disk,
            writer_share=writer_share,
        )
        return self._database

    def _database_opened(self) -> None:
        assert self._database is not None
        self._database.expire(self._reactor.seconds())
        if self._start.phase is StartPhase.OPENING:
            self._begin()
        self._start.over(StartStep.VALUES)

    def _begin(self) -> None:
        """Join, and let others in."""
        assert self._stack is not None
        self._end_patience()
        self._p2p_port.serve(self._stack.rpc)
        self._probe_port.serve(self._stack.probe)
        if self._bulk_port is not None and self._bulk_server is not None:
            self._bulk_port.serve(self._bulk_server)
        host, port = self._p2p_port.getHost().host, self._p2p_port.getHost().port
        self.log.info(
            "This {role} listens on {host} port {port} (UDP). Its id is {node_id}.",
            role=_NAMES[self._role],
            host=host,
            port=port,
            node_id=f"{self._stack.table.own_id:064x}",
        )
        self._work.setServiceParent(self)
        self._start.entered(StartPhase.WORKING)

    def _end_patience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()

    # Stop

    def stopService(self) -> "Deferred[Any]":
        """Finish what clients asked for, then stop. Fires when the ports are closed and the lock is free."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        has_begun = self._start.phase is StartPhase.WORKING
        self._start.entered(StartPhase.ENDING)
        self._mining.stop()
        self._end_patience()
        leaves = self._leave() if has_begun else succeed(None)
        await gatherResults([Deferred.fromCoroutine(self._close_api()), leaves])
        stopped = maybeDeferred(super().stopService)
        if self._stack is not None:
            # What was asked ends now, and whatever would be asked yet.
            self._stack.rpc.stop()
            self._stack.probe.stop()
        if self._bulk_client is not None:
            self._bulk_client.stop()
        await stopped
        closed = self._close_p2p_ports()
        if self._bulk_server is not None:
            self._bulk_server.close()
        await closed
        try:
            self._save_contacts()
        finally:
            if self._database is not None:
                self._database.close()
            self._start.ended()
            self._data_dir.show_working(False)
            self._data_dir.close()

    async def _close_api(self) -> None:
        if self._api_port is not None and self._api is not None:
            await maybeDeferred(self._api_port.stopListening)
            await self._api.close()

    def _leave(self) -> "Deferred[None]":
        """Hand over what is held here, while clients still get their answers."""
        assert self._stack is not None
        return self._stack.leave(HAND_OVER_TIMEOUT).addErrback(self._not_left)

    def _not_left(self, failure: Failure) -> None:
        """Whatever it is, the rest of the stop must go on: the database is still to be closed."""
        self.log.failure("The hand-over has failed; this is a bug.", failure)

    # Contacts

    def _saved_contacts(self) -> tuple[Contact, ...]:
        try:
            return self._data_dir.load_contacts(self._puzzle.check)
        except Malformed as error:
            self.log.warn("The saved contacts are of no use: {reason}.", reason=str(error))
            return ()

    def _save_contacts(self) -> None:
        if self._stack is None:
            return
        self._start.say()
        table = self._stack.table
        if table.changes != self._saved_change and len(table):
            try:
                self._data_dir.save_contacts(table.contacts())
            except OSError as wrong:
                self._disk.contacts_failed(wrong)
                return
            self._saved_change = table.changes
            self._disk.contacts_saved()

    def _look_at_disk(self) -> None:
        self._disk.look()
        if self._database is not None:
            self._database.look(self._reactor.seconds())


_NAMES = {Role.NODE: "node", Role.BOOTSTRAP: "bootstrap node"}


def _stack_options(settings: Settings, role: Role) -> StackOptions:
    node, storage = settings.node, settings.storage
    return StackOptions(
        policy=Policy(storage.replication, storage.min_ttl, storage.max_ttl, storage.ttl_unless_asked),
        storage_limit=storage.storage_limit if role is Role.NODE else None,
        writer_share=storage.writer_share,
        cleanup_interval=node.cleanup_interval,
        refresh_interval=storage.refresh_interval,
        republish_interval=storage.republish_interval,
        seeds=settings.bootstrap,
        retries=Retries(node.bootstrap_retry_interval, node.max_bootstrap_retries),
        advertised=node.advertised_address,
        limits=Limits(
            settings.rate_limiter.peer_requests_per_second,
            settings.rate_limiter.peer_burst_size,
            diversity_private=settings.security.diversity_private is YesNo.YES,
        ),
    )


def _api_factory(settings: Settings, reactor: Any, node: Readiness) -> ApiFactory:
    limits = ApiLimits(
        settings.api.api_allow,
        settings.rate_limiter.requests_per_second,
        settings.rate_limiter.burst_size,
        settings.rate_limiter.loopback_rate,
        settings.api.max_connections,
        settings.api.max_connections_per_client,
    )
    return ApiFactory(node, limits, reactor, answers_puts=settings.api.put_reply is PutReply.SUCCESS)
