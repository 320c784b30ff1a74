"""Limits the HELLOs to an address that never proved to be a node of this network.

Contacts come from peers, and a peer may name a victim: this bounds what it can make this node send there.
"""

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Address
from dht14.security.rate_limiter import RateLimiter
from dht14.security.subnets import is_private

HELLOS_PER_ADDRESS, HELLO_WINDOW = 2, 600.0
"""HELLOs that one unproven address gets within this time, in seconds."""
HELLOS_PER_HOST = 32
"""HELLOs that all ports of one host get together in that time. Private addresses are exempt: a whole network
may share one."""
MAX_ADDRESSES = 16_384
"""How many proven and how many unproven addresses are remembered; a new one replaces the oldest."""


@define(eq=False)
class HelloLimiter:
    """Counts the HELLOs to unproven addresses."""

    _proven: BoundedDict[Address, None] = field(factory=lambda: BoundedDict(MAX_ADDRESSES), init=False)
    _sent: BoundedDict[Address, tuple[float, int]] = field(
        factory=lambda: BoundedDict(MAX_ADDRESSES), init=False
    )
    """When the current window of an address began, and how many HELLOs it got since."""
    _hosts: RateLimiter = field(
        factory=lambda: RateLimiter(HELLOS_PER_HOST / HELLO_WINDOW, HELLOS_PER_HOST, MAX_ADDRESSES),
        init=False,
    )

    def take(self, address: Address, now: float) -> bool:
        """Return whether one more HELLO may go to this address, and count it."""
        if address in self._proven:
            return True
        began, sent = self._sent.get(address, (now, 0))
        if not 0 <= now - began < HELLO_WINDOW:
            began, sent = now, 0
        if sent >= HELLOS_PER_ADDRESS or not self._host_may(address[0], now):
            return False
        self._sent[address] = (began, sent + 1)
        return True

    def _host_may(self, host: str, now: float) -> bool:
        return is_private(host) or self._hosts.bucket(host, now).take(now)

    def is_proven(self, address: Address) -> bool:
        """Return whether a node of this network answered from this address, as far as is remembered."""
        return address in self._proven

    def proved(self, address: Address) -> None:
        """A node of this network answered from this address."""
        self._sent.pop(address, None)
        self._proven.renew(address, None)
