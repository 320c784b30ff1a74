"""DHT-14: a Kademlia node on Twisted.

Layers, each importing only what stands below it::

    cmd/                               what is typed: options of twistd, commands of `dht14`
    embedding/                         a node in another program, networks for tests
    app/  sim/  client/                the life of a real node; a network of virtual nodes; clients of the API
    stack_builder                      builds the objects of one node, once, for both
    stack                              the objects of one node
    net/  maintenance/                 Twisted protocols (rpc/, api/, bulk/); what a node does unasked
    node/                              operations: lookup, get, put, join, answers to other nodes
    wire/  session/  database/         messages and bytes; encrypted sessions; the records on disk
    records/  security/  files/        which record wins, an owner's envelope; identity, limits; large files
    kademlia/                          ids, k-buckets, routing table, lookup
    errors  bounded                    whose fault an error is; collections that stay bounded

From `wire/` down everything is pure (no Twisted, no log, no clock, no randomness of its own), except that the
database waits for the disk in a thread. `app/` and `sim/` never meet; both call `build_stack` in
`stack_builder.py`.

`docs/architecture.md` follows a request through these parts and explains the terms. `__all__`, here, in `aio`
and in `testing`, names what is public; `docs/clients.md` and `docs/embedding.md` explain it.
"""

TYPE_CHECKING = False
# Type checkers take a variable of this name for true. To import `typing` would take longer than all the rest.

if TYPE_CHECKING:
    from dht14.client.answers import Receipt, Value
    from dht14.client.blocking import Client
    from dht14.client.errors import (
        BadKey,
        DhtError,
        FileFailed,
        Forged,
        Incomplete,
        NoNode,
        NotAFile,
        NotKept,
        NotReady,
        Refused,
        TimedOut,
        TooLarge,
        TooManyWatches,
        Unanswered,
    )
    from dht14.client.file_values import FetchedFile, FileProgress, StoredFile
    from dht14.client.keys import owner_key
    from dht14.embedding.kept_value import KeptValue
    from dht14.embedding.node import Node
    from dht14.embedding.node_status import NodeStatus
    from dht14.errors import AddressUnavailable, ConfigError, DataDirInUse, StartError
    from dht14.records.receipt import PutOutcome, PutReason

__version__ = "0.1.0"

__all__ = [
    "AddressUnavailable",
    "BadKey",
    "Client",
    "ConfigError",
    "DataDirInUse",
    "DhtError",
    "FetchedFile",
    "FileFailed",
    "FileProgress",
    "Forged",
    "Incomplete",
    "KeptValue",
    "NoNode",
    "Node",
    "NodeStatus",
    "NotAFile",
    "NotKept",
    "NotReady",
    "PutOutcome",
    "PutReason",
    "Receipt",
    "Refused",
    "StartError",
    "StoredFile",
    "TimedOut",
    "TooLarge",
    "TooManyWatches",
    "Unanswered",
    "Value",
    "__version__",
    "owner_key",
]

_HOMES = {
    "client.blocking": {"Client"},
    "client.answers": {"Receipt", "Value"},
    "client.file_values": {"FetchedFile", "FileProgress", "StoredFile"},
    "client.keys": {"owner_key"},
    "embedding.node": {"Node"},
    "embedding.kept_value": {"KeptValue"},
    "embedding.node_status": {"NodeStatus"},
    "errors": {"AddressUnavailable", "ConfigError", "DataDirInUse", "StartError"},
    "records.receipt": {"PutOutcome", "PutReason"},
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for first: a node and most commands need none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((home for home, names in _HOMES.items() if name in names), "client.errors")
    return getattr(import_module(f"dht14.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
