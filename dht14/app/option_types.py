"""Parsers of the texts of options: one for each kind of value.

A parser returns the value, or raises `ValueError`. The text of that error follows the option's name in a
message to the operator: it says what is wrong and what to write instead, and never repeats a secret.
"""

import enum
import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from dht14.kademlia.contact import Seed
from dht14.kademlia.keyspace import ID_BYTES
from dht14.security import subnets

HostPort = tuple[str, int]
"""A host name or a numeric address (IPv6 without brackets) and a port."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_SIZE = re.compile(r"([0-9]{1,30})([KMG]?)", re.IGNORECASE)
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
# The DNS allows no underscores, but container networks use them in names.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NETWORK_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")
_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_COMMENT = re.compile(r"(^|\s)[#;]")
_QUOTES = ("'", '"')
_KEY_FORMS = "32 ASCII characters, 64 hex digits, or file:PATH to a file that holds one of these"
# No form of a key is longer; no more is read from a key file.
_KEY_FILE_BYTES = 128


def quoting_problem(text: str) -> str:
    """Return what a shell or another file format would remove from this text, and the remedy; "" if there is
    nothing.

    It is not removed here, so it must be refused: a comment after a path would become a part of the folder's
    name.
    """
    bare = text.removeprefix("file:")
    if _COMMENT.search(text):
        return "has a comment after its value; write the comment on a line of its own"
    if bare[:1] in _QUOTES or bare[-1:] in _QUOTES:
        return "has quotes around its value; write it without them"
    if bare.startswith("~"):
        return (
            "begins with ~, which is not replaced; write the whole path (./~ for a name that begins with ~)"
        )
    if bare.startswith("$") or "${" in bare:
        return "has a variable in its value, which is not replaced; write the value itself"
    if bare != bare.strip():
        return "has a space before or after its value; remove it"
    return ""


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise ValueError(f"{text!r} is not a whole number; write one from {low} to {high}")
        return _within(int(text), low, high)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of durations in seconds, fractions allowed."""
    return number(low, high, "a number of seconds")


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`, fractions allowed."""

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}; write one from {low} to {high}")
        return _within(float(text), low, high)

    return parse


N = TypeVar("N", int, float)


def _within(value: N, low: N, high: N) -> N:
    if not low <= value <= high:
        raise ValueError(f"{value} is out of range; write one from {low} to {high}")
    return value


def byte_size(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of numbers of bytes; K, M and G are powers of 1,024."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a size; write a number of bytes, or one like 512K, 256M or 2G")
        return _within(int(match[1]) * _UNIT[match[2].upper()], low, high)

    return parse


def one_of(kind: type[E], **other_names: E) -> Callable[[str], E]:
    """Return a parser of the values of an enumeration, in upper or lower case."""

    def parse(text: str) -> E:
        try:
            return other_names.get(text.lower()) or kind(text.lower())
        except ValueError:
            names = ", ".join(str(member.value) for member in kind)
            raise ValueError(f"{text!r} is not one of: {names}") from None

    return parse


def one_of_or(kind: type[E], parse: Callable[[str], T]) -> Callable[[str], E | T]:
    """Return a parser of the values of an enumeration, and of what another parser accepts."""

    def parse_either(text: str) -> E | T:
        for member in kind:
            if text.lower() == member.value:
                return member
        try:
            return parse(text)
        except ValueError as error:
            names = ", ".join(str(member.value) for member in kind)
            raise ValueError(f"{error}; or {names}") from None

    return parse_either


def host_names(text: str) -> tuple[str, ...]:
    """Parse host names, separated by commas; the empty text is none."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError(f"{name!r} is not a host name; write one like node.example, without a port")
    return names


def host_port(text: str) -> HostPort:
    """Parse `host:port` or `[IPv6]:port`; the port is 1 to 65535."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port; write host:port, such as 127.0.0.1:8000")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:9]) <= 65535):
        raise ValueError(f"{port!r} in {text!r} is not a port; write one from 1 to 65535")
    return _host(host, text), int(port)


def _host(host: str, text: str) -> str:
    """Return the host without brackets, validated as far as possible without the network."""
    if host.startswith("[") and host.endswith("]"):
        return _numeric(ipaddress.IPv6Address, host[1:-1], text)
    if not host:
        raise ValueError(f"{text!r} has no host; write 0.0.0.0{text} or [::]{text} for every address")
    if ":" in host:
        raise ValueError(f"{text!r} is ambiguous; write an IPv6 address in brackets: [address]:port")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return _numeric(ipaddress.IPv4Address, host, text)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} does not begin with a host name or address; write host:port")
    return host


def _numeric(kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], host: str, text: str) -> str:
    try:
        return str(kind(host))
    except ValueError:
        raise ValueError(f"{text!r} does not begin with an IP address or a host name") from None


def seed(text: str) -> Seed:
    """Parse `host:port`, or `nodeid@host:port` with the node id in hex."""
    node_id, at, address = text.rpartition("@")
    if at and not (len(node_id) == 2 * ID_BYTES and _HEX_KEY.fullmatch(node_id)):
        raise ValueError(f"the text before @ in {text!r} is not a node id; write 64 hex digits")
    host, port = host_port(address)
    return Seed(host, port, int(node_id, 16) if at else None)


def networks(text: str) -> tuple[Network, ...]:
    """Parse networks or single addresses, separated by commas; at least one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("names no network; write some, or 0.0.0.0/0, ::/0 for all")
    return tuple(_network(name) for name in names)


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name)
    except ValueError as error:
        raise ValueError(f"{name!r} is not a network ({error}); write one like 192.168.0.0/16") from None


def is_private(host: str) -> bool:
    """Whether no host on the Internet can reach this one. A name, or a wildcard, counts as public."""
    try:
        return subnets.is_private(host)
    except ValueError:
        return host == "localhost"


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """Return a parser that returns None for an empty text."""
    return lambda text: parse(text) if text else None


def network_name(text: str) -> str:
    """Parse the name of a network: 1 to 32 letters, digits, dots, hyphens or underscores."""
    if not _NETWORK_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name; write 1 to 32 letters, digits, dots, hyphens, underscores")
    return text


def file_path(text: str) -> str:
    """Parse the path of a file or a folder; "" if none is given."""
    return text


def secret_key(text: str) -> bytes | None:
    """Parse a key of 32 bytes; None if none is given. Reads the file of a `file:` path."""
    if not text:
        return None
    if not text.startswith("file:"):
        return _key_bytes(text, f"is not a key; write {_KEY_FORMS}")
    return key_from_file(text.removeprefix("file:"))


def key_from_file(name: str) -> bytes:
    """Read a key of 32 bytes from a file. Raises ValueError."""
    try:
        with open(name, "rb") as file:
            held = file.read(_KEY_FILE_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise ValueError(
            f"cannot read the key file {name!r} ({error.strerror}); name a file that holds the key, as 64 "
            "hex digits or 32 ASCII characters"
        ) from None
    return _key_bytes(
        held.removesuffix("\n").removesuffix("\r"),
        f"the file {name!r} holds no key; write 64 hex digits into it (openssl rand -hex 32)",
    )


def _key_bytes(text: str, problem: str) -> bytes:
    if _HEX_KEY.fullmatch(text):
        return bytes.fromhex(text)
    if is_raw_key(text):
        return text.encode("ascii")
    raise ValueError(problem)


def is_raw_key(text: str) -> bool:
    """Whether this is a key of 32 characters: all of them count, even quotes and spaces."""
    return len(text) == 32 and text.isascii() and text.isprintable()
