"""The public names for asyncio. Importing them imports no Twisted; `run_node` does when it is asked for."""

from dht14.client.answers import Receipt, Value
from dht14.client.asynchronous import Client
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
from dht14.errors import AddressUnavailable, ConfigError, DataDirInUse, StartError
from dht14.records.receipt import PutOutcome, PutReason

TYPE_CHECKING = False
# As in `dht14`.

if TYPE_CHECKING:
    from dht14.embedding.asynchronous import AsyncioNode, run_node
    from dht14.embedding.kept_value import KeptValue
    from dht14.embedding.node_status import NodeStatus

__all__ = [
    "AddressUnavailable",
    "AsyncioNode",
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
    "owner_key",
    "run_node",
]

_HOMES = {
    "AsyncioNode": "asynchronous",
    "run_node": "asynchronous",
    "KeptValue": "kept_value",
    "NodeStatus": "node_status",
}


def __getattr__(name: str) -> object:
    """Import what runs a node when it is asked for first: a client needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dht14.embedding.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
