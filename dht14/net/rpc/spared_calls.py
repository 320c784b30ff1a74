"""Calls to silent addresses that are not sent while another call to the address is under way: they would be
lost like that one. They are sent when the address answers."""

from collections import deque
from collections.abc import Iterator, Mapping

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.net.rpc.call import Call
from dht14.net.rpc.pacing import MAX_WAIT


@define(eq=False)
class SparedCalls:
    """The pending calls of one node that were not sent."""

    _pending: Mapping[bytes, Call]
    """All pending calls of the node, by RPC id."""
    by_address: dict[Address, "deque[bytes]"] = field(factory=dict, init=False)
    """The RPC ids of these calls; some calls may have failed since."""

    def add(self, address: Address, rpc_id: bytes) -> None:
        """A call to this address is not sent now."""
        self.by_address.setdefault(address, deque()).append(rpc_id)

    def forget_failed(self, address: Address) -> None:
        """Forget the calls to this address that have failed."""
        spared = self.by_address.get(address)
        while spared and spared[0] not in self._pending:
            spared.popleft()
        if not spared:
            self.by_address.pop(address, None)

    def take(self, address: Address, now: float) -> Iterator[Call]:
        """Remove the calls to this address, and return those that are to be sent. Not those that have waited
        too long: the remaining lifetime in them is not true any more."""
        for rpc_id in self.by_address.pop(address):
            call = self._pending.get(rpc_id)
            if call is not None and now - call.sent_at <= MAX_WAIT:
                yield call
