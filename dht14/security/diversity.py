"""Which addresses share a limit because one party is likely to have them all.

Addresses inside a subnet cost next to nothing, those in many subnets do: so subnets are counted, not nodes.
Private addresses are exempt, because there all nodes are neighbours, unless it is asked for otherwise.
"""

from functools import lru_cache

from dht14.security.subnets import is_private, subnet_of


@lru_cache(maxsize=16_384)
def public_subnet(host: str) -> bytes | None:
    """The subnet of an address; None for private ones, and for the empty host (this node itself)."""
    return None if not host or is_private(host) else subnet_of(host)


def any_subnet(host: str) -> bytes | None:
    """The subnet of an address, of a private one too; None for the empty host."""
    return subnet_of(host) if host else None
