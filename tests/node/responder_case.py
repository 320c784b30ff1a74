import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Transfer
from dht14.records.record import Record, version_at
from dht14.records.store import Refusal, Verdict
from dht14.records.version_floors import NO_FLOOR, Floor
from dht14.security.tickets import Tickets
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import Refused, Reply, Request, Store, Stored
from tests.fakes import BEGINNING, contact

OWN = 1 << 200

ASKER = contact(1 << 255, 99)

NOW = BEGINNING

VERSION = version_at(NOW)

VERSIONS = NetworkClock(lambda: NOW, lambda: NOW)

CONTENT = b"content"

CONTENT_KEY = hash_id(CONTENT)

RECEIPT = Stored((), replication=3)

INVALID = Refused((), Refusal.INVALID)


class LateStore:
    """A store that knows only later what became of a record."""

    def __init__(self) -> None:
        self.offers: list[Callable[[Verdict], None]] = []

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        self.offers.append(on_verdict)

    def get(self, key: int, now: float) -> Record | None:
        return None

    def is_in_place(self) -> bool:
        return True

    def is_replacing(self, record: Record) -> bool:
        return False

    def floor(self, key: int, now: float) -> Floor:
        return NO_FLOOR

    def expire(self, now: float) -> int:
        return 0


class ResponderTestCase(SynchronousTestCase):
    """A node that holds values, and one that does not."""

    def setUp(self) -> None:
        self.table = RoutingTable(OWN)
        self.store = MemoryStore(OWN, 100_000, lambda record: True)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(1))
        self.node = Responder(Neighbourhood(self.table), self.store, 100, self.tickets, VERSIONS)
        self.bootstrap = Responder(Neighbourhood(self.table), None, 100, self.tickets, VERSIONS)

    def ask(self, request: Request, asker: Contact = ASKER, responder: Responder | None = None) -> Reply:
        replies: list[Reply] = []
        (responder or self.node).answer(request, asker, NOW, replies.append)
        (reply,) = replies
        return reply

    def meet(self, *ids: int) -> list[Contact]:
        met = [contact(node_id, number) for number, node_id in enumerate(ids, 1)]
        for one in met:
            self.table.confirmed(one, NOW, 0.01)
        return met

    def store_request(self, key: int, value: bytes = b"value", version: int = VERSION, **other: Any) -> Store:
        parts = {"ttl_ms": 50_000, "replication": 3, "neighbours": 0} | other
        return Store(key, version, value=value, **parts)

    def held(self, key: int) -> Record:
        record = self.store.get(key, NOW)
        assert record is not None
        return record
