"""What the stacks of tests are made of."""

import random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Address
from dht14.security.identity import Identity
from dht14.sim.memory_store import MemoryStore
from dht14.stack import StackOptions
from dht14.stack_builder import StackInputs
from tests.fakes import BulkRecorder, verify_proof


def resolve(host: str, port: int) -> "Deferred[list[Address]]":
    """Resolve an address to itself."""
    return succeed([(host, port)])


def stack_inputs(node: Identity, clock: IReactorTime, options: StackOptions, **changes: Any) -> StackInputs:
    """Return the inputs of a node with its records in memory, one clock for all, and no bulk channel.

    `changes` are other fields of `StackInputs`.
    """
    usual = {
        "verify_proof": verify_proof,
        "wall": clock.seconds,
        "rng": random.Random(1),
        "resolve": resolve,
        "bulk": BulkRecorder(),
        "make_store": MemoryStore.of,
    }
    return StackInputs(identity=node, clock=clock, options=options, **{**usual, **changes})
