"""How many HELLOs an address gets that never proved to be a node of this network.

Contacts come from others, who may name a victim: what they can make us send there is bounded.
"""

from collections import OrderedDict

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.security.rate_limiter import RateLimiter
from dht14.security.subnets import is_private

HELLOS_PER_ADDRESS, HELLO_WINDOW = 2, 600.0
"""So many within so many seconds."""
HELLOS_PER_HOST = 32
"""So many within the same time to all ports of a host together; private ranges are exempt, where whole networks
may have one address."""
MAX_ADDRESSES = 16_384
"""Addresses of either sort; those heard of longest ago are forgotten first."""


@define(eq=False)
class HelloLimiter:
    """Counts HELLOs to addresses that are not proven."""

    _proven: "OrderedDict[Address, None]" = field(factory=OrderedDict, init=False)
    _sent: "OrderedDict[Address, tuple[float, int]]" = field(factory=OrderedDict, init=False)
    """When the first HELLO of a bout went there, and how many did."""
    _hosts: RateLimiter = field(
        factory=lambda: RateLimiter(HELLOS_PER_HOST / HELLO_WINDOW, HELLOS_PER_HOST, MAX_ADDRESSES),
        init=False,
    )

    def take(self, address: Address, now: float) -> bool:
        """Whether one more HELLO may go to this address; it is counted then."""
        if address in self._proven:
            return True
        began, sent = self._sent.get(address, (now, 0))
        if not 0 <= now - began < HELLO_WINDOW:
            began, sent = now, 0
        if sent >= HELLOS_PER_ADDRESS or not (
            is_private(address[0]) or self._hosts.bucket(address[0], now).take(now)
        ):
            return False
        self._sent[address] = (began, sent + 1)
        if len(self._sent) > MAX_ADDRESSES:
            self._sent.popitem(last=False)
        return True

    def is_proven(self, address: Address) -> bool:
        """Whether a node of this network answered from there, not too long ago to be remembered."""
        return address in self._proven

    def proved(self, address: Address) -> None:
        """A node of this network answered from there."""
        self._sent.pop(address, None)
        self._proven[address] = None
        self._proven.move_to_end(address)
        if len(self._proven) > MAX_ADDRESSES:
            self._proven.popitem(last=False)
