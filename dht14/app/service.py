"""The composition root of a real node: binds its ports, builds a stack, and returns the service."""

import random
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import TaskStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.app.admin import bind_admin
from dht14.app.data_dir import DataDir
from dht14.app.database_dir import DatabaseDir, has_database, unlock
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.node_view import RealNodeView
from dht14.app.options import AdminSocket, Role, Settings
from dht14.app.ports import NodePorts
from dht14.app.running_node import RunningNode, build_running_node
from dht14.app.saved_contacts import SavedContacts
from dht14.app.start import StartPhase, StartProgress
from dht14.app.startup_warnings import (
    tell_unused,
    warn_of_open_api,
    warn_of_risky_settings,
    warn_of_unreachable_seeds,
)
from dht14.app.state_file import StateFile
from dht14.client.address import format_address
from dht14.database.database import Database
from dht14.errors import StartError
from dht14.maintenance.handover import HAND_OVER_TIMEOUT
from dht14.maintenance.periodic import Periodic
from dht14.net.api.readiness import Readiness, StartStep
from dht14.node.proof_search import ProofSearch
from dht14.node.timers import cancel_timer
from dht14.security.identity import Identity, Puzzle, public_bytes
from dht14.stack import Stack

SAVE_INTERVAL = 1.5
"""Seconds between two checks whether the saved contacts and the state file are still up to date."""

DISK_INTERVAL = 5.0
"""Seconds between two checks whether the data directory is still there, and whether its disk accepts
writes."""

OPENING_TIMEOUT = 0.8
"""Seconds that a node waits for its database before it joins. The check of a large database takes longer:
then the node joins without its values, and serves them as soon as the check is done."""


def _no_log_level(name: str) -> None:
    """Refuse to change the level, where the caller of `build_node` cannot."""
    raise ValueError("the log of this process is not the node's; its level is not changed here")


def build_node(
    settings: Settings,
    reactor: Any,
    role: Role,
    set_log_level: Callable[[str], None] = _no_log_level,
    *,
    has_api: bool = True,
) -> "NodeService":
    """Return a node with its directory locked and its ports bound. It starts to work when the service starts.

    Without `has_api` no port for clients is bound: the program around the node calls it directly.

    Raises `StartError`, with nothing left open, if the directory, the identity or a port cannot be used.
    """
    data_dir = DataDir.open(settings.node.data_dir)
    try:
        return NodeService(settings, reactor, role, data_dir, set_log_level, has_api)
    except BaseException:
        data_dir.close()
        raise


class NodeService(MultiService):
    """One node from start to stop. Owns its ports and its data directory.

    `_progress.phase` is the state. Only `_begin_work` lets the node join and serve others.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        role: Role,
        data_dir: DataDir,
        set_log_level: Callable[[str], None],
        has_api: bool,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._reactor = reactor
        self._data_dir = data_dir
        self._disk = DiskMonitor(data_dir)
        self._contacts = SavedContacts(data_dir, self._disk)
        self._role = role
        admin = settings.node.admin_address
        place = None if isinstance(admin, AdminSocket) else format_address(*admin)
        self._progress = StartProgress(role, reactor, StateFile(data_dir, place))
        self._puzzle = Puzzle(settings.node.network, settings.security.difficulty)
        self._identity = data_dir.identity(self._puzzle)
        """None in the phase SEARCHING, and before it."""
        self._mining = ProofSearch(self._puzzle, public_bytes(data_dir.private_key()), reactor)
        self._database_dir: DatabaseDir | None = None
        """None in a bootstrap node, and in a new node until it has its id."""
        if role is Role.NODE and (self._identity is not None or has_database(data_dir.path)):
            self._database_dir = self._unlock_database(self._identity)
        self._running: RunningNode | None = None
        """None before the phase OPENING."""
        self._opening_timeout: IDelayedCall | None = None
        self._ports = NodePorts.bind(settings, role, self._progress.readiness, reactor, has_api=has_api)
        self._view = RealNodeView(
            settings=settings,
            role=role.title,
            progress=self._progress,
            disk=self._disk,
            clock=reactor,
            p2p_address=self._ports.p2p_address,
            api_address=self._ports.api.address if self._ports.api is not None else None,
        )
        try:
            self._admin = bind_admin(settings.node, data_dir, self._view, set_log_level, reactor)
        except StartError:
            self._ports.close_all()
            raise

    @property
    def ports(self) -> NodePorts:
        """Its sockets, bound from the beginning."""
        return self._ports

    @property
    def readiness(self) -> Readiness:
        """Puts and gets at this node, which wait until it is ready."""
        return self._progress.readiness

    @property
    def stack(self) -> Stack | None:
        """The objects of the node; None until it has its id."""
        return self._running.stack if self._running is not None else None

    def _unlock_database(self, identity: Identity | None) -> DatabaseDir:
        origin = identity.node_id if identity is not None else 0
        return unlock(self._data_dir, self._settings.security.encryption_key, origin)

    # Start

    def startService(self) -> None:
        """Search for the identity if needed, open the database, then join the network and begin
        maintenance."""
        super().startService()
        self._disk.begin()
        tell_unused(self._settings)
        warn_of_risky_settings(self._settings)
        warn_of_unreachable_seeds(self._settings)
        if self._ports.api is not None:
            warn_of_open_api(self._settings)
            host, port = self._ports.api.address
            self.log.info(
                "API listening on {host} port {port} (TCP).", event="api.listening", host=host, port=port
            )
        if self._admin is not None:
            self.log.info("Admin surface at {url}.", event="admin.listening", url=self._admin.url)
        if self._identity is not None:
            self._build(self._identity)
        else:
            self._progress.entered(StartPhase.SEARCHING)
            self._mining.start().addCallback(self._mined).addErrback(self._start_failed)

    def _mined(self, proof: bytes) -> None:
        former = self._data_dir.proof()
        self._identity = self._data_dir.save_proof(proof, self._puzzle)
        if former is not None:
            self.log.warn(
                "Node id changed from {former} to {now}: the old proof of work does not fit this network's "
                "name or difficulty.",
                event="identity.changed",
                former=f"{self._puzzle.node_id_of(former):064x}",
                now=f"{self._identity.node_id:064x}",
            )
        if self._role is Role.NODE and self._database_dir is None:
            self._database_dir = self._unlock_database(self._identity)
        self._build(self._identity)

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(TaskStopped):
            return
        self._progress.entered(StartPhase.FAILED)
        if failure.check(StartError):
            # The process goes on: `dht14 health` must report that the node does not work.
            self.log.critical(
                "The node cannot start: {reason}.", event="node.not_started", reason=failure.getErrorMessage()
            )
        else:
            self.log.failure(
                "The search for the proof of work failed; this is a bug.", failure, event="identity.bug"
            )

    def _build(self, identity: Identity) -> None:
        """Build the node, and let it work as soon as its database is open."""
        rng = random.SystemRandom()
        running = self._running = build_running_node(
            identity=identity,
            verify_proof=self._puzzle.verify_proof,
            settings=self._settings,
            role=self._role,
            ports=self._ports,
            saved=self._contacts.load(self._puzzle.verify_proof),
            database_dir=self._database_dir,
            disk=self._disk,
            rng=rng,
            reactor=self._reactor,
        )
        save_state = Periodic("save contacts", SAVE_INTERVAL, self._save_state, self._reactor, rng)
        inspect_disk = Periodic("disk", DISK_INTERVAL, self._inspect_disk, self._reactor, rng)
        self._view.built(running.stack, lambda: running.metrics(self._ports))
        for service in (*running.stack.services, save_state, inspect_disk):
            service.setServiceParent(running.work)
        self._progress.built(running.stack)
        self._open_database(running.database)

    def _open_database(self, database: Database | None) -> None:
        """Open the database, and begin the work then, or after `OPENING_TIMEOUT`."""
        if database is None or self._database_dir is None:
            self._disk.ready()
            self._begin_work()
            return
        if aside := self._database_dir.set_aside:
            (self._disk.outdated if self._database_dir.is_outdated else self._disk.set_aside)(aside)
        if self._database_dir.is_missing:
            self._disk.missing(self._database_dir.path)
        self._opening_timeout = self._reactor.callLater(OPENING_TIMEOUT, self._begin_work)
        database.open(lambda: self._database_opened(database))

    def _database_opened(self, database: Database) -> None:
        if self._database_dir is not None:
            self._database_dir.made()
        database.expire(self._reactor.seconds())
        self._begin_work()
        self._progress.step_done(StartStep.VALUES)

    def _begin_work(self) -> None:
        """Join, and serve other nodes: once, and only in the phase OPENING."""
        cancel_timer(self._opening_timeout)
        if self._progress.phase is not StartPhase.OPENING or self._running is None:
            return
        self._ports.serve(self._running.stack, self._running.bulk_server)
        host, port = self._ports.p2p_address
        self.log.info(
            "Listening on {host} port {port} (UDP) as {role}, node id {node_id}.",
            event="node.listening",
            host=host,
            port=port,
            role=self._role.title,
            node_id=f"{self._running.stack.table.own_id:064x}",
        )
        self._running.work.setServiceParent(self)
        self._progress.entered(StartPhase.WORKING)

    # Stop

    def stopService(self) -> "Deferred[Any]":
        """Answer the requests of clients, then stop. Fires when the ports are closed and the lock is free."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        must_hand_over = self._progress.phase is StartPhase.WORKING
        self._progress.entered(StartPhase.ENDING)
        self._mining.stop()
        cancel_timer(self._opening_timeout)
        running = self._running
        handed_over = self._hand_over(running.stack) if running and must_hand_over else succeed(None)
        await gatherResults([Deferred.fromCoroutine(self._ports.close_api()), handed_over])
        stopped = maybeDeferred(super().stopService)
        if running is not None:
            running.stop_calls()
        await stopped
        if running is not None and running.bulk_server is not None:
            # Before the ports: connections close in the next turn of the reactor, and so do ports.
            running.bulk_server.close()
        await self._ports.close_p2p()
        if self._admin is not None:
            await self._admin.close()
        try:
            self._save_state()
        finally:
            if running is not None and running.database is not None:
                running.database.close()
            self._progress.ended()
            self._data_dir.show_working(False)
            self._data_dir.close()

    def _hand_over(self, stack: Stack) -> "Deferred[None]":
        """Hand over the records of this node, while clients still get their answers."""
        return stack.leave(HAND_OVER_TIMEOUT).addErrback(self._not_handed_over)

    def _not_handed_over(self, failure: Failure) -> None:
        """Log any error: the stop must go on, because the database must be closed."""
        self.log.failure("The hand-over failed; this is a bug.", failure, event="handover.bug")

    # Files

    def _save_state(self) -> None:
        if self._running is not None:
            self._progress.publish()
            self._contacts.save(self._running.stack.table)

    def _inspect_disk(self) -> None:
        self._disk.inspect()
        if self._running is not None and self._running.database is not None:
            self._running.database.inspect_disk(self._reactor.seconds())
