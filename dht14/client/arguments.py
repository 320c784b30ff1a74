"""Checks the arguments of the calls. A wrong one raises before its request is queued with others."""

import operator

from dht14.client.errors import TooLarge
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import MAX_SALT

MAX_TIMEOUT = 1_000_000.0
"""Seconds; twelve days. The system does not wait for much longer in one call."""

MAX_CONNECTIONS = 64


def checked_timeout(timeout: float, connections: int) -> float:
    """Return the timeout of a client, cut to `MAX_TIMEOUT`. Raises ValueError, TypeError."""
    if not timeout > 0 or not 1 <= operator.index(connections) <= MAX_CONNECTIONS:
        raise ValueError(f"timeout is more than 0 s, connections is 1 to {MAX_CONNECTIONS}")
    return min(timeout, MAX_TIMEOUT)


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
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
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
