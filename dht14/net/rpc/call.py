"""One RPC that waits for its reply: whom it asks, and how long it has been waiting."""

from enum import Enum

from attrs import define

from dht14.kademlia.contact import Contact
from dht14.net.rpc.metrics import SentRequests
from dht14.node.ports import CallObserver


class CallStage(Enum):
    """How long a call has been waiting."""

    PACED = "paced"
    """It is not sent yet."""
    SENT = "sent"
    SLOW = "slow"
    SILENT = "silent"


@define(eq=False)
class Call:
    """One request that waits for its reply."""

    contact: Contact
    observer: CallObserver
    payload: bytes
    sent_at: float
    node_id: int | None
    """Who shall answer; None for whoever is at the address."""
    named: bool
    """Whether the operator or an earlier run named the address."""
    counters: SentRequests
    """Of its method."""
    silent_at: float = 0.0
    """When its contact is taken for dead; set when it is sent."""
    round_trips: int = 1
    """Until the answer, if nothing is lost: two where a session had to be begun first."""
    stage: CallStage = CallStage.PACED

    def is_answered_by(self, sender: Contact) -> bool:
        """Whether it was this node, there, that was asked."""
        is_it = self.node_id is None or self.node_id == sender.node_id
        return is_it and self.contact.address == sender.address and self.stage is not CallStage.PACED
