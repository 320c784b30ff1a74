"""Detects another node with this node's identity: a copied data directory, or a snapshot that was started
twice.

A node may also meet itself, at an address that a seed or another node names. The RPC ids tell the two cases
apart: a request to itself has an id that this node has used.
"""

from collections import deque

from attrs import define, field
from twisted.logger import Logger

from dht14.kademlia.contact import Address
from dht14.net.log_limiter import LogLimiter

MAX_RPC_IDS = 64
"""RPC ids of requests to itself: a resent request may come after its reply."""

DUPLICATE_MEMORY = 3_600.0
"""Seconds for which the address of another node with this identity is told to the operator: the two meet only
now and then."""


@define(eq=False)
class DuplicateIdentityDetector:
    """Receives the messages whose sender has proven this node's own id."""

    log = Logger()

    _log_limiter: LogLimiter
    _to_itself: "deque[bytes]" = field(factory=lambda: deque(maxlen=MAX_RPC_IDS), init=False)
    _last: tuple[Address, float] | None = field(default=None, init=False)
    """Where another node was last met, and when."""

    def address(self, now: float) -> Address | None:
        """Return the address of another node with this identity that was met lately; None if none was."""
        if self._last is None or now - self._last[1] > DUPLICATE_MEMORY:
            return None
        return self._last[0]

    def request_received(self, rpc_id: bytes, is_pending: bool, address: Address, now: float) -> None:
        """A request came; `is_pending`: this node itself waits for the reply to it."""
        if is_pending:
            self._to_itself.append(rpc_id)
        elif rpc_id not in self._to_itself:
            self._report(address, now)

    def reply_received(self, rpc_id: bytes, address: Address, now: float) -> None:
        """A reply to a request of this node came."""
        if rpc_id not in self._to_itself:
            self._report(address, now)

    def _report(self, address: Address, now: float) -> None:
        self._last = address, now
        if self._log_limiter.may_log(("duplicate identity", address), now):
            self.log.warn(
                "Duplicate identity: the node at {host} port {port} has the same node id as this one, so "
                "other nodes find the values of neither reliably. Stop one of the two, or give it its own "
                "data directory.",
                event="identity.duplicate",
                host=address[0],
                port=address[1],
            )
