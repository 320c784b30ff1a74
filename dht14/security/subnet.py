"""Which addresses are likely to be one party's: an IPv4 /24, an IPv6 /48."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

_PRIVATE = tuple(
    ip_network(network)
    for network in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


@lru_cache(maxsize=8192)
def subnet_of(host: str) -> bytes:
    """The first 3 bytes of an IPv4 address, the first 6 of an IPv6 one."""
    packed = ip_address(host).packed
    return packed[:3] if len(packed) == 4 else packed[:6]


@lru_cache(maxsize=8192)
def is_private(host: str) -> bool:
    """Whether the address is loopback, link-local or of a private range: there one party has many subnets,
    and whole networks have one."""
    address = ip_address(host)
    return any(address in network for network in _PRIVATE)
