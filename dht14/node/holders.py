"""Finds the nodes that should hold a record, and stores the record there (this node included)."""

from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.parameters import GROUP, LATE_SECONDS, MAX_INLINE_VALUE, QUORUM, SPARE_COPIES, K
from dht14.kademlia.subnet_limits import limit_per_subnet
from dht14.node.lookups import Lookups, nodes_replied
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import ResyncState
from dht14.node.write_quorum import WriteQuorum
from dht14.records.record import Kind, Record
from dht14.records.store import Outcome, RecordStore, Refusal, Verdict, conflicting_record
from dht14.wire.messages import FindNode, Store, fingerprint

MAX_KNOWN = 4 * K
"""The nearest contacts of the table that may be asked to hold a record, where some of the nearest K do not
answer or hold no values. Half of them may be dead, or behind a partition."""

OWN_COPY_SECONDS = 0.25
"""Seconds that this node has at least to store its own copy. Where it must because the others have not
answered, the time of the put is over."""


@frozen
class _Placement:
    """A record that must reach its holders."""

    record: Record
    wanted: int
    """Copies that the client asked for."""
    deadline: float
    copy: bool
    near: Sequence[Contact]


@define(eq=False)
class Holders:
    """Stores the records of one node's puts."""

    _lookups: Lookups
    _store: RecordStore | None
    _resync_state: ResyncState
    _republish_times: RepublishTimes
    on_missed: Callable[[Record, Contact], None] = field(default=lambda record, contact: None, init=False)
    """Called with each record that is stored, and each contact that should hold it and did not answer."""

    async def store(
        self,
        record: Record,
        wanted: int,
        deadline: float,
        *,
        copy: bool = False,
        near: Sequence[Contact] = (),
    ) -> WriteQuorum:
        """Store the record at the nodes nearest to its key, until `deadline`.

        It goes to at least as many nodes as the record that it replaces has: no copy of that one may outlive
        it. `copy`: it was accepted elsewhere before, so the holders need not compare it with conflicting
        records. `near`: the nodes nearest to the key, where the caller has looked them up already.
        """
        placement = _Placement(record, wanted, deadline, copy, near)
        quorum = await self._place(placement)
        if not quorum.is_regional and self._lookups.eclipse_detector.found_crowd(record.key):
            # Only this attempt showed the crowd beside the key; most of the receipts may be the attacker's.
            quorum = await self._place(evolve(placement, near=()))
        if quorum.max_replication > record.replication and record.kind is not Kind.CONTENT:
            wider = evolve(record, replication=quorum.max_replication)
            quorum = await self._place(evolve(placement, record=wider))
        return quorum

    async def _place(self, placement: _Placement) -> WriteQuorum:
        """Store the record once at all its holders, this node included."""
        record = placement.record
        table, own_id, key = self._lookups.table, self._lookups.table.own_id, record.key
        candidates, width = await self._candidates(placement)
        limited = [contact.node_id for contact in limit_per_subnet(candidates, table.subnet_of)]
        nearest = sorted({own_id, *limited}, key=key.__xor__)[:width]
        lookup = self._new_lookup(record, candidates, width)
        quorum = WriteQuorum(
            record=record,
            wanted=placement.wanted,
            needed=max(placement.wanted, QUORUM),
            lookup=lookup,
            responsive={c.node_id for c in candidates if not table.is_suspect(c.node_id)},
            is_regional=self._lookups.eclipse_detector.suspects(key),
        )
        if own_id in nearest:
            await self._store_here(quorum, placement)
        neighbours = fingerprint(nearest[: record.replication])
        await self._ask(lookup, quorum, placement, neighbours)
        known = K
        while quorum.lacks_candidates and known < min(MAX_KNOWN, len(table)):
            known *= 2
            lookup.heard_of(table.closest(key, known))
            await self._ask(lookup, quorum, placement, neighbours)
        if own_id not in nearest and quorum.needs_own_copy(own_id):
            await self._store_here(quorum, placement)
        stood_still = self._lookups.clock.seconds() > placement.deadline + LATE_SECONDS
        quorum.conclude(unheard=self._lookups.is_stopping or stood_still)
        for contact in lookup.candidates.in_states(CandidateState.FAILED):
            self._unheard(quorum, contact)
        return quorum

    async def _ask(self, lookup: Lookup, quorum: WriteQuorum, placement: _Placement, neighbours: int) -> None:
        """Send STOREs until enough holders have the record, or no candidate is left."""
        record, now = placement.record, self._lookups.clock.seconds()
        request = Store(
            record.key,
            record.version,
            max(record.remaining_ms(now), 1),
            record.replication,
            neighbours,
            record.value,
            placement.copy,
        )
        unheard = partial(self._unheard, quorum)
        await self._lookups.run(lookup, request, quorum.replied, placement.deadline - now, unheard)

    def _unheard(self, quorum: WriteQuorum, contact: Contact) -> None:
        if quorum.agreed and quorum.is_holder(contact):
            self.on_missed(quorum.record, contact)

    def _new_lookup(self, record: Record, candidates: list[Contact], width: int) -> Lookup:
        """Return the lookup that sends the STOREs: to `width` of the candidates at once."""
        table = self._lookups.table
        lookup = Lookup(
            record.key,
            table.own_id,
            width,
            usual_rtt=table.usual_rtt(candidates[:GROUP]),
            purpose=Purpose.STORE,
            subnet_of=table.subnet_of,
        )
        if lookup.is_far and len(record.value) <= MAX_INLINE_VALUE and width <= record.replication:
            # Not where a copy costs a transfer, nor at a crowded key, where the whole region has one.
            lookup.spares = SPARE_COPIES
        lookup.awaits_silent = len(record.value) > MAX_INLINE_VALUE
        lookup.alpha = width + lookup.spares
        lookup.heard_of(candidates)
        return lookup

    async def _candidates(self, placement: _Placement) -> tuple[list[Contact], int]:
        """Return the contacts nearest to the key, nearest first, and how many of them should hold the record.

        Around a crowded key these are all nodes of the region: the honest ones cannot be told from the
        others.
        """
        lookups, key, width = self._lookups, placement.record.key, placement.record.replication
        if lookups.neighbourhood.knows_region(key, width):
            candidates = lookups.table.closest(key, K)
        elif placement.near:
            known = {
                contact.node_id: contact for contact in (*lookups.table.closest(key, K), *placement.near)
            }
            candidates = [known[node_id] for node_id in sorted(known, key=key.__xor__)[:K]]
        else:
            timeout = (placement.deadline - lookups.clock.seconds()) / 2
            candidates = (await lookups.find_nodes(key, width=width, timeout=timeout)).shortlist()
        if lookups.eclipse_detector.suspects(key) or lookups.neighbourhood.is_crowded(key):
            timeout = (placement.deadline - lookups.clock.seconds()) / 2
            lookup = lookups.new_disjoint_lookup(key, width)
            region = await lookups.run(lookup, FindNode(key), nodes_replied, timeout)
            candidates = region.nearest() or candidates
            width = max(width, len(candidates))
        return candidates, width

    async def _store_here(self, quorum: WriteQuorum, placement: _Placement) -> None:
        """Store the record in this node. If the disk hangs, half of the time is left for other holders."""
        if self._store is None:
            return
        record, now = placement.record, self._lookups.clock.seconds()
        held = None if placement.copy else conflicting_record(self._store, record, now)
        if held is not None and self._store.is_in_place():
            verdict = Verdict(Outcome.OUTRANKED, held.version)
        else:
            stored: Deferred[Verdict] = Deferred()
            self._store.offer(record, now, stored.callback)
            timeout = max((placement.deadline - now) / 2, OWN_COPY_SECONDS)
            verdict = await stored.addTimeout(timeout, self._lookups.clock).addErrback(_not_in_time)
            if self._lookups.table.has_live_contact():  # Else nobody but this node has it.
                self._republish_times.republished(record.key, now)
        holds_older = verdict.outcome is Outcome.REFUSED and self._store.get(record.key, now) is not None
        quorum.own_store_answered(verdict, self._resync_state.is_current, holds_older)


def _not_in_time(failure: Failure) -> Verdict:
    failure.trap(TimeoutError)
    return Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM)
