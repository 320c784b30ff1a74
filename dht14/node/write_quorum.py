"""How a put fares: which holders have the record, and whether that is enough to call it stored."""

from collections import Counter

from attrs import define, field

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.node.lookup_run import AnyLookup
from dht14.records.receipt import PutReason
from dht14.records.record import Kind, Record
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.wire.messages import Outranked, Refused, Reply, Stored

NOT_A_HOLDER = (Refusal.NO_VALUES, Refusal.NOT_NEAR, Refusal.LEAVING)
"""Who refuses for one of these reasons is not one of the nodes that should hold the record: it holds nothing, others
are nearer, or it will be gone in a moment. All others are missed."""


@define(eq=False, kw_only=True)
class WriteQuorum:
    """How the STOREs of one record fare."""

    record: Record
    wanted: int
    """Copies that the client asked for."""
    _needed: int
    """Receipts without which it is not stored, if so many holders can be reached."""
    _lookup: Lookup
    """For the holders. One that should hold the record, and has it or a better one, has answered."""
    _responsive: set[int]
    """Ids of the contacts that were well when it began."""
    receipts: int = field(default=0, init=False)
    """How many have said that they hold the record."""
    outranked: bool = field(default=False, init=False)
    """Whether somebody said that it holds a better record."""
    replication_met: int = field(default=0, init=False)
    """Copies that the key has had, where that is more than the record asks for."""
    agreed: bool = field(default=False, init=False)
    """Whether as many as are needed have it or a better record, and most of the group: no later read brings
    anything older."""
    _holders: set[int] = field(factory=set, init=False)
    """Ids of those that hold the record."""
    _met: dict[int, int] = field(factory=dict, init=False)
    """The versions that outranked it, by the ids of those that hold them."""
    _refusals: Counter[Refusal] = field(factory=Counter, init=False)
    """Those who should hold it and do not."""

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered its STORE."""
        if isinstance(reply, Stored):
            self._stored(contact.node_id)
            self.replication_met = max(self.replication_met, reply.replication)
            lookup.answered(contact, reply.nearer, votes=reply.current)
        elif isinstance(reply, Outranked) and self.record.kind is not Kind.CONTENT:
            # Nobody stands in for it: that would only spread a record that has lost.
            self._lost_to(contact.node_id, reply.version)
            lookup.answered(contact, reply.nearer)
        elif isinstance(reply, Refused):
            if reply.reason not in NOT_A_HOLDER:
                self._refusals[reply.reason] += 1
            turned_down = lookup.outdated if reply.holds_older else lookup.refused
            turned_down(contact, reply.nearer)
        else:
            lookup.refused(contact, reply.nearer if isinstance(reply, Outranked) else ())

    def _stored(self, node_id: int) -> None:
        self.receipts += 1
        self._holders.add(node_id)

    def _lost_to(self, node_id: int, version: int) -> None:
        self.outranked = True
        self._met[node_id] = version

    @property
    def succeeded(self) -> bool:
        """Whether it counts as stored, or a better record does that some hold in its place."""
        return self.agreed and self.receipts > 0

    def version_to_surpass(self, latest: int, witnesses: int) -> int:
        """The version that the record must be above, so that nobody takes it for an older one; -1 if there is
        none.

        A version from the future, ahead of the `latest`, counts only if so many have told of one.
        """
        ahead = sorted((version for version in self._met.values() if version > latest), reverse=True)
        if len(ahead) >= witnesses:
            return ahead[witnesses - 1]
        return max((version for version in self._met.values() if version <= latest), default=-1)

    def met_after(self, latest: int) -> bool:
        """Whether a version from the future outranked the record."""
        return any(version > latest for version in self._met.values())

    @property
    def refused_version(self) -> bool:
        """Whether somebody took the record for one from the future."""
        return bool(self._refusals[Refusal.VERSION])

    def tried_here(self, verdict: Verdict, is_current: bool) -> None:
        """The own store was offered the record."""
        if verdict.outcome is Outcome.HELD:
            self._stored(self._lookup.own_id)
            self.replication_met = max(self.replication_met, verdict.replication)
        elif verdict.outcome is Outcome.OUTRANKED:
            self._lost_to(self._lookup.own_id, verdict.version)
        else:
            self._refusals[verdict.refusal] += 1
            if verdict.version:
                self._lookup.includes_self(CandidateState.OUTDATED)
            return
        self._lookup.includes_self(votes=is_current)

    def lacks(self, own_id: int) -> bool:
        """Whether this node has become one of the nearest, because nearer ones did not answer."""
        nearest = self._lookup.nearest()
        key = self.record.key
        return len(nearest) < self._lookup.width or own_id ^ key < nearest[-1].node_id ^ key

    def conclude(self) -> None:
        """The STOREs are over. Enough receipts, or all there were to be had, and most of the group?

        Where most of the contacts that were well a moment ago did not answer, it is rather this node that
        is cut off: what it keeps to itself is not stored.
        """
        lookup = self._lookup
        answered = lookup.candidates.count(CandidateState.ANSWERED)
        lost = sum(c.node_id in self._responsive for c in lookup.candidates.unanswering())
        all_there_were = lookup.finished and lost <= answered - lookup.candidates.counts_self
        reachable = answered + self._refusals.total() if all_there_were else self._needed
        enough = self._agreeing >= min(self._needed, reachable)
        self.agreed = enough and self._has_group()

    @property
    def _agreeing(self) -> int:
        """Who has the record or a better one."""
        return self.receipts + len(self._met)

    def _has_group(self) -> bool:
        group = self._lookup.group()
        ids = [candidate.contact.node_id for candidate in group]
        agreeing = sum(node_id in self._holders or node_id in self._met for node_id in ids)
        return 2 * agreeing > len(group) or not group

    @property
    def reason(self) -> PutReason:
        """Why it is not stored."""
        for refusal, reason in _REASONS.items():
            if self._refusals[refusal]:
                return reason
        return PutReason.TOO_FEW_HOLDERS


_REASONS = {
    Refusal.SHARE: PutReason.WRITER_SHARE,
    Refusal.NO_ROOM: PutReason.NO_ROOM,
    Refusal.INVALID: PutReason.NOT_AUTHENTIC,
}
