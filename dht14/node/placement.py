"""How a put fares: which holders have the record, and whether that is enough to call it stored."""

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.node.search import Walk
from dht14.storage.receipt import PutOutcome, PutReason, Receipt
from dht14.storage.record import Kind, Record
from dht14.storage.store import Outcome, Verdict
from dht14.wire.messages import Outranked, Refused, Reply, Stored


@define(eq=False)
class Placement:
    """How the STOREs of one record fared."""

    record: Record
    _lookup: Lookup
    """For the holders. Whoever is the right one for the record, and has it or a better one, has answered."""
    _well: set[int]
    """Ids of the contacts that were well when it began."""
    _newest_believable: int
    receipts: int = field(default=0, init=False)
    """How many have said that they hold the record."""
    outranked: bool = field(default=False, init=False)
    """Whether somebody said that it holds a better record."""
    newest_met: int = field(default=-1, init=False)
    """The greatest version that outranked the record somewhere and that a writer of now can surpass; -1 when
    none did."""
    kept: bool = field(default=False, init=False)
    """Whether all who should hold the record have said that they do, or that they hold a better one."""

    def replied(self, lookup: Walk, contact: Contact, reply: Reply) -> None:
        """One contact answered its STORE."""
        if isinstance(reply, Stored):
            self.receipts += 1
            lookup.answered(contact, reply.nearer)
        elif isinstance(reply, Outranked) and self.record.kind is not Kind.CONTENT:
            # Nobody stands in for it: that would only spread a record that has lost.
            self._met(reply.version)
            lookup.answered(contact, reply.nearer)
        else:
            lookup.refused(contact, reply.nearer if isinstance(reply, Outranked | Refused) else ())

    def _met(self, version: int) -> None:
        """A better record. One from the future is an owner's, or a lie: it is not surpassed by counting."""
        self.outranked = True
        if version <= self._newest_believable:
            self.newest_met = max(self.newest_met, version)

    def tried_here(self, verdict: Verdict) -> None:
        """The own store was offered the record."""
        if verdict.outcome is Outcome.HELD:
            self.receipts += 1
        elif verdict.outcome is Outcome.OUTRANKED:
            self._met(verdict.version)
        if verdict.outcome is not Outcome.REFUSED:
            self._lookup.includes_self()

    def lacks(self, own_id: int) -> bool:
        """Whether this node has become one of the nearest, because nearer ones did not answer."""
        nearest = self._lookup.nearest()
        key = self.record.key
        return len(nearest) < self._lookup.width or own_id ^ key < nearest[-1].node_id ^ key

    def judge(self) -> None:
        """The STOREs are over. Enough receipts, or all there were to be had?

        Where most of the contacts that were well a moment ago did not answer, it is rather this node that
        is cut off: what it keeps to itself is not stored.
        """
        lookup = self._lookup
        answered = len(lookup.nearest())
        lost = sum(c.node_id in self._well for c in lookup.unanswering())
        all_there_were = lookup.finished and lost <= answered - lookup.counts_self
        self.kept = self.receipts > 0 and (answered >= self.record.replication or all_there_were)

    def receipt(self, record: Record, kept: bool, reason: PutReason = PutReason.TOO_FEW_HOLDERS) -> Receipt:
        """What the writer of `record` is told; `reason` where it is not kept."""
        wanted, version = record.replication, 0 if record.kind is Kind.CONTENT else record.version
        if not kept:
            return Receipt(PutOutcome.NOT_STORED, self.receipts, wanted, reason, version)
        outcome = PutOutcome.STORED if self.receipts >= wanted else PutOutcome.STORED_BY_ALL
        return Receipt(outcome, self.receipts, wanted, PutReason.NONE, version)
