"""Getting to know who called: a request alone proves nothing, an answer to our PING does."""

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.node.ports import Rpc
from dht14.wire.messages import Ping

NEWCOMERS_AT_ONCE = 8
"""PINGs to unproven senders that may be out at once: a flood of senders cannot make us flood others."""


@define(eq=False)
class Greeter:
    """Pings who called us and would have a place in the table: a request alone proves nothing."""

    _rpc: Rpc
    _greeted: set[int] = field(factory=set, init=False)

    def greet(self, stranger: Contact) -> None:
        """Ping the stranger, unless enough are being pinged: it will call again."""
        if len(self._greeted) < NEWCOMERS_AT_ONCE and stranger.node_id not in self._greeted:
            self._greeted.add(stranger.node_id)
            greeting = self._rpc.ask(stranger, Ping())
            greeting.addBoth(lambda _: self._greeted.discard(stranger.node_id))
