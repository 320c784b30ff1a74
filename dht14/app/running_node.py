"""The objects of a real node that has its id: its stack, its database and its bulk channel."""

import random
import time
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen
from twisted.application.service import MultiService

from dht14.app.database_dir import DatabaseDir
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.options import Role, Settings
from dht14.app.ports import NodePorts
from dht14.app.stack_options import stack_options
from dht14.database.database import Database
from dht14.kademlia.contact import Contact
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.server import BulkServer
from dht14.net.bulk.tls import NodeTls
from dht14.net.resolver import resolver
from dht14.node_metrics import NodeMetrics
from dht14.records.version_floors import FLOOR_MARGIN
from dht14.security.identity import Identity, VerifyProof
from dht14.stack import Stack, StoreOptions
from dht14.stack_builder import StackInputs, build_stack


@frozen(kw_only=True)
class RunningNode:
    """The objects of a node, from when it has its id until it ends."""

    stack: Stack
    database: Database | None
    """None in a bootstrap node."""
    bulk_client: BulkClient
    bulk_server: BulkServer | None
    """None in a bootstrap node."""
    work: MultiService = field(factory=MultiService)
    """Join and maintenance: added to the service when the work begins."""

    def metrics(self, ports: NodePorts) -> NodeMetrics:
        """Return all metrics of the node, to be read at once: they go on counting."""
        return self.stack.metrics(
            bulk_client=self.bulk_client.metrics,
            bulk_server=self.bulk_server.metrics if self.bulk_server is not None else None,
            api=ports.api.metrics if ports.api is not None else None,
            copied=False,
        )

    def stop_calls(self) -> None:
        """Let calls under way fail now, and every later one at once."""
        self.stack.stop_calls()
        self.bulk_client.stop()


def build_running_node(
    *,
    identity: Identity,
    verify_proof: VerifyProof,
    settings: Settings,
    role: Role,
    ports: NodePorts,
    saved: Iterable[Contact],
    database_dir: DatabaseDir | None,
    disk: DiskMonitor,
    rng: random.Random,
    reactor: Any,
) -> RunningNode:
    """Build the objects of a node. Nothing is opened, and nothing starts to work. `saved` are contacts of an
    earlier run; `database_dir` is None in a bootstrap node."""
    tls = NodeTls(identity.private_key)
    bulk_client = BulkClient(tls, verify_proof, reactor, ports.source)
    options = stack_options(settings, role)

    def make_database(store: StoreOptions) -> Database:
        assert database_dir is not None
        return Database(
            path=database_dir.path,
            format=database_dir.format,
            own_id=store.own_id,
            limit=store.limit,
            floor_ttl=store.max_ttl + FLOOR_MARGIN,
            answers_for=store.answers_for,
            call_soon=reactor.callFromThread,
            events=disk,
            seconds=reactor.seconds,
            writer_share=store.writer_share,
            kept_limit=options.kept_limit,
        )

    stack = build_stack(
        StackInputs(
            identity=identity,
            verify_proof=verify_proof,
            clock=reactor,
            wall=time.time,
            rng=rng,
            resolve=resolver(reactor),
            bulk=bulk_client,
            options=options,
            saved=saved,
            make_store=make_database,
        )
    )
    bulk_server = None
    if role is Role.NODE:
        bulk_server = BulkServer(stack.responder, tls, options.limits.parties_of, reactor)
    database = stack.store if isinstance(stack.store, Database) else None
    return RunningNode(stack=stack, database=database, bulk_client=bulk_client, bulk_server=bulk_server)
