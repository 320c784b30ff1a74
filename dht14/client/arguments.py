"""Checks the arguments of the calls. A wrong one raises before its request is queued with others."""

import operator
from collections.abc import Iterable, Mapping
from typing import TypeVar

from dht14.client.errors import TooLarge
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import MAX_SALT

T = TypeVar("T")
U = TypeVar("U")

MAX_TIMEOUT = 1_000_000.0
"""Seconds; twelve days. The system does not wait for much longer in one call."""

MAX_CONNECTIONS = 64


def checked_timeout(timeout: float, connections: int) -> float:
    """Return the timeout of a client, cut to `MAX_TIMEOUT`. Raises ValueError, TypeError."""
    check_seconds(timeout)
    if not timeout > 0 or not 1 <= whole("connections", connections) <= MAX_CONNECTIONS:
        raise ValueError(f"timeout is more than 0 s, connections is 1 to {MAX_CONNECTIONS}")
    return min(timeout, MAX_TIMEOUT)


def check_seconds(timeout: float) -> None:
    """Raise TypeError for a timeout that is no number: None is not "for ever"."""
    if not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a number of seconds, not {type(timeout).__name__}")


def checked_concurrency(concurrency: int) -> int:
    """Return how many calls of a batch run at a time. Raises ValueError, TypeError."""
    if whole("concurrency", concurrency) < 1:
        raise ValueError(f"concurrency is 1 or more, not {concurrency}")
    return concurrency


def whole(name: str, number: int) -> int:
    """Return a whole number. Raises TypeError for anything else: 60.0 has no place in a message."""
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{name} is a whole number (int), not {type(number).__name__}") from None


def checked_hints(ttl: int, replication: int) -> tuple[int, int]:
    """Return time to live and number of copies that are asked for. Raises ValueError, TypeError."""
    ttl, replication = whole("ttl", ttl), whole("replication", replication)
    if not 0 <= ttl <= 0xFFFF:
        raise ValueError(f"ttl is 0 to 65535 seconds, not {ttl}")
    if not 0 <= replication <= 0xFF:
        raise ValueError(f"replication is 0 to 255 nodes, not {replication}")
    return ttl, replication


def value_bytes(value: bytes) -> bytes:
    """Return the bytes of a value. Raises TypeError, `TooLarge`, and ValueError for an empty one."""
    if not isinstance(value, bytes):
        if not isinstance(value, bytearray | memoryview):
            remedy = "; encode the text: value.encode()" if isinstance(value, str) else ""
            raise TypeError(f"a value is bytes, not {type(value).__name__}{remedy}")
        value = bytes(value)
    if not value:
        raise ValueError("the value is empty; it must have 1 byte or more")
    if len(value) > MAX_VALUE:
        raise TooLarge(len(value), MAX_VALUE)
    return value


def check_salt(salt: bytes) -> bytes:
    """Return the salt. Raises ValueError where it is too long, TypeError where it is no bytes."""
    if not isinstance(salt, bytes):
        raise TypeError(f"a salt is bytes, not {type(salt).__name__}")
    if len(salt) > MAX_SALT:
        raise ValueError(f"the salt has {len(salt)} bytes; it may have {MAX_SALT}")
    return salt


def check_keys(keys: object) -> None:
    """Raise TypeError for a single key: each character of a text would be a key."""
    if isinstance(keys, str | bytes | bytearray | memoryview):
        raise TypeError(f"keys are several, as in a list, not one {type(keys).__name__}")


def pairs_of(items: Mapping[T, U] | Iterable[tuple[T, U]]) -> Iterable[tuple[T, U]]:
    """Return keys and values of a batch. Raises TypeError, where something else comes when it comes."""
    if isinstance(items, Mapping):
        return items.items()
    return map(_pair, items)


def _pair(item: tuple[T, U]) -> tuple[T, U]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise TypeError("items are pairs, (key, value) each, or a mapping of keys to values")
    return item[0], item[1]
