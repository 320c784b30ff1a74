"""Liveness: PINGs contacts in turn and learns how long contacts live.

Runs every LIVENESS_INTERVAL (5 s), and sooner when two contacts do not answer: others may have died with
them, and reads wait for each that is not known to be dead. One alone has mostly lost a datagram. A pass sends
one PING to each contact that needs one; replies and timeouts reach the routing table through the RPC layer,
and nothing waits for them.
"""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.lifetimes import Lifetimes
from dht14.kademlia.parameters import SILENT_TIMEOUT_MIN
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.ports import Rpc
from dht14.wire.messages import Ping

PAUSE_IN_DOUBT = SILENT_TIMEOUT_MIN
"""Seconds after a pass before contacts that do not answer start another one: by then it is known who has
answered the first."""

DOUBTFUL_CONTACTS = 2
"""Contacts that do not answer, from which on others are asked without delay."""


@define(eq=False)
class Liveness:
    """PINGs contacts, and estimates from the losses of the table how long contacts live."""

    _table: RoutingTable
    _rpc: Rpc
    _clock: IReactorTime
    _republish_interval: float
    _lifetimes: Lifetimes = field(init=False)
    _began: float = field(default=0.0, init=False)
    """When the last pass began."""
    _losses: int = field(default=0, init=False)
    """The losses of the table at the last pass."""

    def __attrs_post_init__(self) -> None:
        self._lifetimes = Lifetimes(self._clock.seconds())

    def repair_interval(self) -> float:
        """Seconds between two checks that a record has its holders, at the present lifetimes of contacts."""
        return self._lifetimes.repair_interval(self._republish_interval)

    def needs_pass(self) -> bool:
        """Whether others are to be asked at once, now that a contact has not answered."""
        is_paused = self._clock.seconds() - self._began < PAUSE_IN_DOUBT
        return self._table.suspect_count >= DOUBTFUL_CONTACTS and not is_paused

    def one_pass(self) -> None:
        """PING the contacts that need it. The RPC layer reports the outcome to the table."""
        now, losses = self._clock.seconds(), self._table.losses
        self._began = now
        self._lifetimes.observed(now, len(self._table), losses - self._losses)
        self._losses = losses
        for contact in self._table.contacts_to_ping(now, self.repair_interval()):
            self._rpc.ask(contact, Ping()).addErrback(lambda _: None)
