"""The public names for asyncio. Importing them imports no Twisted."""

from dht14.client.answers import Receipt, Value
from dht14.client.asynchronous import Client
from dht14.client.errors import (
    BadKey,
    DhtError,
    Forged,
    Incomplete,
    NoNode,
    NotReady,
    Refused,
    TimedOut,
    TooLarge,
    Unanswered,
)
from dht14.client.keys import owner_key
from dht14.records.receipt import PutOutcome, PutReason

__all__ = [
    "BadKey",
    "Client",
    "DhtError",
    "Forged",
    "Incomplete",
    "NoNode",
    "NotReady",
    "PutOutcome",
    "PutReason",
    "Receipt",
    "Refused",
    "TimedOut",
    "TooLarge",
    "Unanswered",
    "Value",
    "owner_key",
]
