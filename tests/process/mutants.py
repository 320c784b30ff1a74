"""Nodes with a fault that a node must not have: the checker of histories must find each of them in real
processes, as it does in the simulator.

`python -m tests.process.mutants NAME` is a program like twistd. The product knows nothing of it: the fault is
put into its classes before it begins.
"""

import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.scripts.twistd import run

from dht14.database.database import Database
from dht14.node.node import Node
from dht14.records.receipt import PutOutcome, Receipt
from dht14.records.record import Record
from dht14.records.store import Outcome, Verdict
from tests.sim.mutants import get_from_own_store


def acknowledges_at_once() -> None:
    """Tell the client that a value is stored when the put begins."""
    put = Node.put

    def mutant(
        node: Node, key: int, value: bytes, ttl: int, replication: int, *rest: float, **others: float
    ) -> "Deferred[Receipt]":
        put(node, key, value, ttl, replication, *rest, **others).addErrback(lambda failure: None)
        return succeed(Receipt(PutOutcome.STORED, replication, replication))

    Node.put = mutant  # type: ignore[assignment, method-assign]


def reads_its_own_store() -> None:
    """Ask no other node when the own store has a record: it may have been replaced elsewhere."""
    get = Node.get
    own = get_from_own_store(get)

    def mutant(node: Node, key: int, *rest: float, **others: float) -> object:
        return get(node, key, True, *rest[1:], **others) if rest[:1] == (True,) else own(node, key)

    Node.get = mutant  # type: ignore[assignment, method-assign]


def forgets_deletions() -> None:
    """Acknowledge deletions without deleting."""
    offer = Database.offer

    def mutant(database: Database, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        if record.is_tombstone:
            on_verdict(Verdict(Outcome.HELD, record.version))
        else:
            offer(database, record, now, on_verdict)

    Database.offer = mutant  # type: ignore[assignment, method-assign]


MUTANTS = {
    mutant.__name__: mutant for mutant in (acknowledges_at_once, reads_its_own_store, forgets_deletions)
}


def program(name: str) -> tuple[str, ...]:
    """The program of nodes with this fault, for `Network.cluster`."""
    return sys.executable, "-m", "tests.process.mutants", name


if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    run()
