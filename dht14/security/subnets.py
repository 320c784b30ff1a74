"""Which addresses are likely to be in one hand: the only place that says so.

An IPv4 host is an address and its subnet a /24. Of IPv6 a customer has at least a /64, so that is a host; a site
is a /48; and a provider's /32 has 65,536 of them, so it counts as well. Loopback, private and link-local ranges are
different: there one party has many subnets, and a whole network has one.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton

PRIVATE_RANGES = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)

_MAPPED = bytes(10) + b"\xff\xff"
"""Before an IPv4 address that is written as one of IPv6."""


class Scope(IntEnum):
    """What a party is. Integers, because they are hashed for every datagram of a stranger."""

    HOST = 1
    SUBNET = 2
    PROVIDER = 3
    PRIVATE_HOST = 4
    """One address of a private range: its subnet says nothing."""


Party = tuple[Scope, bytes]
"""Who is taken for one: a scope, and the leading bytes that its addresses have in common."""


def _masks(kind: type[IPv4Network] | type[IPv6Network]) -> tuple[tuple[int, int], ...]:
    networks = (ip_network(text) for text in PRIVATE_RANGES)
    return tuple((int(n.netmask), int(n.network_address)) for n in networks if isinstance(n, kind))


_PRIVATE = {4: _masks(IPv4Network), 16: _masks(IPv6Network)}
"""By the length of an address: the bits that count, and what they are."""
_FIRST_BYTES = {
    length: frozenset(
        first
        for first in range(256)
        if any((first ^ network >> 8 * length - 8) & mask >> 8 * length - 8 == 0 for mask, network in ranges)
    )
    for length, ranges in _PRIVATE.items()
}
"""Those that private addresses begin with: most others are told by one look."""


def _packed(host: str) -> bytes:
    """The 4 or 16 bytes of a numeric address. Raises ValueError."""
    try:
        if ":" not in host:
            return inet_pton(AF_INET, host)
        packed = inet_pton(AF_INET6, host.partition("%")[0])
    except OSError:
        raise ValueError(f"{host!r} is not an IP address") from None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _is_private(packed: bytes) -> bool:
    if packed[0] not in _FIRST_BYTES[len(packed)]:
        return False
    number = int.from_bytes(packed, "big")
    return any(number & mask == network for mask, network in _PRIVATE[len(packed)])


@lru_cache(maxsize=8192)
def subnet_of(host: str) -> bytes:
    """The first 3 bytes of an IPv4 address, the first 6 of an IPv6 one."""
    packed = _packed(host)
    return packed[:3] if len(packed) == 4 else packed[:6]


@lru_cache(maxsize=8192)
def host_of(host: str) -> bytes:
    """The bytes that all addresses of a host have in common."""
    packed = _packed(host)
    return packed if len(packed) == 4 or _is_private(packed) else packed[:8]


def counted_subnet(host: str, subnet_of: Callable[[str], bytes | None]) -> bytes:
    """What a writer's share is counted by beside its id: its subnet, or its host where that is not limited."""
    return subnet_of(host) or host_of(host)


@lru_cache(maxsize=8192)
def is_private(host: str) -> bool:
    """Whether the address is loopback, link-local or of a private range."""
    return _is_private(_packed(host))


@lru_cache(maxsize=8192)
def parties_of(host: str, diversity_private: bool = False) -> tuple[Party, ...]:
    """Who shares the limits of an address, the narrowest first.

    `diversity_private`: whether private addresses have subnets like any other.
    """
    packed = _packed(host)
    if _is_private(packed) and not diversity_private:
        return ((Scope.PRIVATE_HOST, packed),)
    if len(packed) == 4:
        return (Scope.HOST, packed), (Scope.SUBNET, packed[:3])
    return (Scope.HOST, packed[:8]), (Scope.SUBNET, packed[:6]), (Scope.PROVIDER, packed[:4])


@lru_cache(maxsize=16_384)
def public_subnet(host: str) -> bytes | None:
    """The subnet of an address; None for private ones, and for the empty host (this node itself)."""
    return None if not host or is_private(host) else subnet_of(host)


def any_subnet(host: str) -> bytes | None:
    """The subnet of an address, of a private one too; None for the empty host."""
    return subnet_of(host) if host else None
