"""Counts which holders have a record, and decides whether that is enough to call it stored."""

from collections import Counter

from attrs import define, field

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.subnet_limits import limit_per_subnet
from dht14.node.lookup_run import AnyLookup
from dht14.records.receipt import PutReason
from dht14.records.record import Kind, Record
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.wire.messages import Outranked, Refused, Reply, Stored

NOT_A_HOLDER = (Refusal.NO_VALUES, Refusal.NOT_NEAR, Refusal.LEAVING)
"""A node that refuses for one of these reasons need not hold the record: it holds no values, others are
nearer, or it is about to stop. A node that refuses for another reason is a missing holder."""

TAKES_NOTHING = (Refusal.NO_VALUES, Refusal.LEAVING)
"""Of these, the reasons that concern every record."""


@define(eq=False, kw_only=True)
class WriteQuorum:
    """What became of the STOREs of one record."""

    record: Record
    wanted: int
    """Copies that the client asked for."""
    _needed: int
    """Receipts needed to call the record stored, if that many holders can be reached."""
    _lookup: Lookup
    """The lookup of the holders. A holder that has the record or a better one counts as answered."""
    _responsive: set[int]
    """Ids of the contacts that had answered their last call when the put began."""
    is_regional: bool = False
    """Whether the whole region of the key is asked, because the key was suspected when the put began."""
    receipts: int = field(default=0, init=False)
    """Holders that reported that they have the record."""
    outranked: bool = field(default=False, init=False)
    """Whether a holder reported a better record."""
    max_replication: int = field(default=0, init=False)
    """The most copies that a replaced record of this key has."""
    agreed: bool = field(default=False, init=False)
    """Whether enough holders, and most of the group, have the record or a better one: no later read returns
    an older one."""
    _holders: set[int] = field(factory=set, init=False)
    """Ids of the nodes that have the record."""
    _outranking: dict[int, int] = field(factory=dict, init=False)
    """The versions that outranked the record, by the ids of the nodes that have them."""
    _takes_nothing: bool = field(default=False, init=False)
    """Whether a node has said so."""
    _refusals: Counter[Refusal] = field(factory=Counter, init=False)
    """Nodes that should hold the record and do not."""

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered its STORE: tell the lookup what that means."""
        if isinstance(reply, Stored):
            self._stored(contact.node_id)
            self.max_replication = max(self.max_replication, reply.replication)
            lookup.answered(contact, reply.nearer, votes=reply.current)
            self._end_if_complete()
        elif isinstance(reply, Outranked) and self.record.kind is not Kind.CONTENT:
            # It needs no stand-in: that would only give another node a record that has lost.
            self._lost_to(contact.node_id, reply.version)
            lookup.answered(contact, reply.nearer)
            self._end_if_complete()
        elif isinstance(reply, Refused):
            if reply.reason in TAKES_NOTHING:
                self._takes_nothing = True
            if reply.reason not in NOT_A_HOLDER:
                self._refusals[reply.reason] += 1
            declined = lookup.outdated if reply.holds_older else lookup.refused
            declined(contact, reply.nearer)
        else:
            lookup.refused(contact, reply.nearer if isinstance(reply, Outranked) else ())

    def _end_if_complete(self) -> None:
        """End the lookup if a spare holder has answered before one of the nearest did. A nearer node that an
        answer has named gets the record all the same."""
        if self._lookup.spares and self.has_all_copies and self._has_group():
            self._lookup.complete()

    @property
    def has_all_copies(self) -> bool:
        """Whether as many nodes as are sought have the record, or a better one."""
        return len(self._holders) + len(self._outranking) >= self._lookup.breadth

    def is_holder(self, contact: Contact) -> bool:
        """Whether the contact should hold the record: it is nearer to the key than some that have it."""
        key = self.record.key
        return any(
            contact.node_id ^ key < node_id ^ key for node_id in self._holders | self._outranking.keys()
        )

    @property
    def lacks_candidates(self) -> bool:
        """Whether nobody is left to ask and too few have the record, because some of those asked do not
        answer, or take no records at all."""
        lookup = self._lookup
        is_short = lookup.finished and not self.has_all_copies
        return is_short and (self._takes_nothing or bool(lookup.candidates.unanswering()))

    def own_store_answered(self, verdict: Verdict, is_current: bool, holds_older: bool) -> None:
        """This node offered the record to its own store. `holds_older`: it refused, and keeps another one."""
        if verdict.outcome is Outcome.HELD:
            self._stored(self._lookup.own_id)
            self.max_replication = max(self.max_replication, verdict.replication)
        elif verdict.outcome is Outcome.OUTRANKED:
            self._lost_to(self._lookup.own_id, verdict.version)
        else:
            self._refusals[verdict.refusal] += 1
            if holds_older:
                self._lookup.include_self(CandidateState.OUTDATED)
            return
        self._lookup.include_self(votes=is_current)

    def _stored(self, node_id: int) -> None:
        self.receipts += 1
        self._holders.add(node_id)

    def _lost_to(self, node_id: int, version: int) -> None:
        self.outranked = True
        self._outranking[node_id] = version

    def needs_own_copy(self, own_id: int) -> bool:
        """Whether this node has become one of the nearest, because nearer ones did not answer. The put may
        have ended before all of them could: who is not slow yet counts."""
        lookup, key = self._lookup, self.record.key
        holders = lookup.candidates.in_states(CandidateState.ANSWERED, CandidateState.ASKED)
        limited = limit_per_subnet(holders, lookup.subnet_of)
        return sum(contact.node_id ^ key < own_id ^ key for contact in limited) < lookup.width

    # Versions

    def version_to_surpass(self, latest: int, witnesses: int) -> int:
        """Return the version that the record must be above, so that no node takes it for older; -1 if there
        is none.

        A version from the future, above `latest`, counts only if this many `witnesses` reported one.
        """
        ahead = sorted((version for version in self._outranking.values() if version > latest), reverse=True)
        if len(ahead) >= witnesses:
            return ahead[witnesses - 1]
        return max((version for version in self._outranking.values() if version <= latest), default=-1)

    def outranked_after(self, latest: int) -> bool:
        """Whether a version from the future, above `latest`, outranked the record."""
        return any(version > latest for version in self._outranking.values())

    def is_outranked_by(self, version: int) -> bool:
        """Whether a node reported that this version outranks the record."""
        return version in self._outranking.values()

    @property
    def refused_version(self) -> bool:
        """Whether a node refused the record because its version seemed to be from the future."""
        return bool(self._refusals[Refusal.VERSION])

    # The result

    def conclude(self, unheard: bool = False) -> None:
        """Decide whether the record is stored, now that the STOREs are over. `unheard`: they have ended
        because this node stops or has stood still, and those that have not answered could be reached.

        It is if there are enough receipts, or all that could be had, and most of the group have it. Where
        most of the contacts that were responsive before did not answer, this node itself is probably cut off:
        a copy that it keeps for itself does not count.
        """
        candidates = self._lookup.candidates
        answered = candidates.count(CandidateState.ANSWERED)
        lost = sum(c.node_id in self._responsive for c in candidates.unanswering())
        reached_all = self._lookup.finished and not unheard and lost <= answered - candidates.counts_self
        reachable = answered + self._refusals.total() if reached_all else self._needed
        agreeing = self.receipts + len(self._outranking)
        self.agreed = agreeing >= min(self._needed, reachable) and self._has_group()

    def _has_group(self) -> bool:
        return self._are_most(self._holders | self._outranking.keys())

    def _are_most(self, node_ids: set[int]) -> bool:
        group = [candidate.contact.node_id for candidate in self._lookup.group()]
        if not group:
            # None that has answered has a vote. Those that have not answered may have one.
            unanswering = len(self._lookup.candidates.unanswering())
            return not unanswering or len(node_ids) > unanswering
        return 2 * sum(node_id in node_ids for node_id in group) > len(group)

    @property
    def holds_group(self) -> bool:
        """Whether most of the group have the record itself, and not a better one."""
        return self._are_most(self._holders)

    @property
    def succeeded(self) -> bool:
        """Whether the record counts as stored: holders have it, or have a better one in its place."""
        return self.agreed and self.receipts > 0

    @property
    def reason(self) -> PutReason:
        """Why the record is not stored."""
        for refusal, reason in _REASONS.items():
            if self._refusals[refusal]:
                return reason
        return PutReason.TOO_FEW_HOLDERS


_REASONS = {
    Refusal.SHARE: PutReason.WRITER_SHARE,
    Refusal.NO_ROOM: PutReason.NO_ROOM,
    Refusal.INVALID: PutReason.NOT_AUTHENTIC,
}
