"""One RPC that waits for its reply."""

from enum import Enum

from attrs import define

from dht14.kademlia.contact import Contact
from dht14.net.rpc.metrics import SentRequests
from dht14.node.ports import CallObserver
from dht14.session.layer import Target


class CallStage(Enum):
    """How long a call has waited."""

    PACED = "paced"
    """Not sent yet."""
    SENT = "sent"
    SLOW = "slow"
    """The soft timeout has passed; the request was sent again."""
    SILENT = "silent"
    """The contact counts as dead; a reply is still accepted."""


@define(eq=False)
class Call:
    """One request that waits for its reply."""

    contact: Contact
    observer: CallObserver
    payload: bytes
    sent_at: float
    node_id: int | None
    """The node that must answer; None: any node at the address."""
    by_address: bool
    """Whether it was made by `Rpc.ask_address`: mostly to an address of the operator or an earlier run."""
    counters: SentRequests
    """The metrics of its method."""
    silent_at: float = 0.0
    """When its contact counts as dead; set when it is sent."""
    round_trips: int = 1
    """Round trips to the reply if nothing is lost: two with a handshake."""
    stage: CallStage = CallStage.PACED

    @property
    def target(self) -> Target:
        """Whom to reach where there is no session, or where the peer may have lost it."""
        return Target(self.contact.address, self.node_id, self.by_address)

    def is_answered_by(self, sender: Contact) -> bool:
        """Whether a reply of this sender is one to this call."""
        is_it = self.node_id is None or self.node_id == sender.node_id
        return is_it and self.contact.address == sender.address and self.stage is not CallStage.PACED
