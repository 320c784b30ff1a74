"""Another node with the identity of this one: a copied data directory, a snapshot that was started twice.

A node may also meet itself, at an address that a seed or another node names. The two are told apart by the RPC ids:
what this node has asked itself it has also been asked.
"""

from collections import deque

from attrs import define, field
from twisted.logger import Logger

from dht14.kademlia.contact import Address
from dht14.net.log_limiter import LogLimiter

MAX_RPC_IDS = 64
"""RPC ids of calls to this node itself: a request that was sent twice may come after its reply."""


@define(eq=False)
class DuplicateIdentityDetector:
    """Watches messages whose sender has proven the id of this node."""

    log = Logger()

    _log_limiter: LogLimiter
    _to_itself: "deque[bytes]" = field(factory=lambda: deque(maxlen=MAX_RPC_IDS), init=False)

    def request_received(self, rpc_id: bytes, is_ours: bool, address: Address, now: float) -> None:
        """A request came; `is_ours` tells whether this node waits for the reply to it."""
        if is_ours:
            self._to_itself.append(rpc_id)
        elif rpc_id not in self._to_itself:
            self._report(address, now)

    def reply_received(self, rpc_id: bytes, address: Address, now: float) -> None:
        """A reply came."""
        if rpc_id not in self._to_itself:
            self._report(address, now)

    def _report(self, address: Address, now: float) -> None:
        if self._log_limiter.may_log(("twin", address), now):
            self.log.warn(
                "The node at {host} port {port} has the identity of this one: others take the two for one that moves "
                "about, and find the values of neither. Stop one of them, or give it a data directory of its own.",
                host=address[0],
                port=address[1],
            )
