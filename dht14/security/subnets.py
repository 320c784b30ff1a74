"""Decides which addresses probably belong to one party, and which are private. No other module does.

IPv4: a host is an address, its subnet the /24. IPv6: a customer has at least a /64, so that is a host; a
subnet is a /48, what a site gets; a provider's /32 has 65,536 of them, so it counts as well. Loopback,
private and link-local ranges are different: there one party has many subnets, and a whole network may lie in
one.
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
"""Addresses that nobody on the internet can reach, and that real networks use. `is_private` is the one
definition: for the limits of subnets, for the filter of named addresses, and for whether difficulty 0 is
allowed.

Not among them are ranges that are reserved without being a network of somebody (documentation, benchmarks:
203.0.113/24, 198.18/15, which the `ipaddress` module calls private) and the shared range of carriers
(100.64/10). In a doubt an address is public: then the limits hold, and difficulty 0 is refused.
"""

_MAPPED = bytes(10) + b"\xff\xff"
"""Begins an IPv4 address that is mapped into IPv6."""


class Scope(IntEnum):
    """Kinds of parties. Integers, because every datagram of an unknown peer hashes them."""

    HOST = 1
    SUBNET = 2
    PROVIDER = 3
    PRIVATE_HOST = 4
    """One address of a private range: there the subnet says nothing about the owner."""


Party = tuple[Scope, bytes]
"""Addresses that count as one owner: a scope, and their common leading bytes."""


def _masks(kind: type[IPv4Network] | type[IPv6Network]) -> tuple[tuple[int, int], ...]:
    networks = (ip_network(text) for text in PRIVATE_RANGES)
    return tuple((int(n.netmask), int(n.network_address)) for n in networks if isinstance(n, kind))


_PRIVATE = {4: _masks(IPv4Network), 16: _masks(IPv6Network)}
"""By the length of an address: (mask, network) of each range."""
_FIRST_BYTES = {
    length: frozenset(
        first
        for first in range(256)
        if any((first ^ network >> 8 * length - 8) & mask >> 8 * length - 8 == 0 for mask, network in ranges)
    )
    for length, ranges in _PRIVATE.items()
}
"""The first bytes of private addresses. Most public addresses are known by their first byte."""


def _packed(host: str) -> bytes:
    """Return the 4 or 16 bytes of a numeric address. Raises ValueError for anything else."""
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
    """Return the first 3 bytes of an IPv4 address, the first 6 of an IPv6 address."""
    packed = _packed(host)
    return packed[:3] if len(packed) == 4 else packed[:6]


@lru_cache(maxsize=8192)
def host_of(host: str) -> bytes:
    """Return the bytes that all addresses of a host have in common."""
    packed = _packed(host)
    return packed if len(packed) == 4 or _is_private(packed) else packed[:8]


def counted_subnet(host: str, subnet_of: Callable[[str], bytes | None]) -> bytes:
    """Return what a writer's share is counted by beside its id: its subnet, else its host."""
    return subnet_of(host) or host_of(host)


@lru_cache(maxsize=8192)
def is_private(host: str) -> bool:
    """Return whether a numeric address is in one of the `PRIVATE_RANGES`. Raises ValueError for a name."""
    return _is_private(_packed(host))


@lru_cache(maxsize=8192)
def parties_of(host: str, diversity_private: bool = False) -> tuple[Party, ...]:
    """Return the parties that share the limits of an address, the narrowest first.

    `diversity_private`: whether subnets count in private ranges too.
    """
    packed = _packed(host)
    if _is_private(packed) and not diversity_private:
        return ((Scope.PRIVATE_HOST, packed),)
    if len(packed) == 4:
        return (Scope.HOST, packed), (Scope.SUBNET, packed[:3])
    return (Scope.HOST, packed[:8]), (Scope.SUBNET, packed[:6]), (Scope.PROVIDER, packed[:4])


@lru_cache(maxsize=16_384)
def public_subnet(host: str) -> bytes | None:
    """Return the subnet of an address; None for a private one, and for the empty host (this node itself)."""
    return None if not host or is_private(host) else subnet_of(host)


def any_subnet(host: str) -> bytes | None:
    """Return the subnet of any address, private ones included; None for the empty host."""
    return subnet_of(host) if host else None
