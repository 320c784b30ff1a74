"""Repair: when the neighbours of this node change, offers each record to the nodes that have become its
holders.

Looks every REPAIR_INTERVAL (5 s). If nothing has changed there is nothing to do; after a change it scans the
store once. The former and the present holders of a record follow from the former and the present
neighbours: a newcomer, a death, a thousand newcomers after a partition, and this node's own restart are the
same case. Only the REPAIRERS nearest holders offer a record; one that takes the place of a dead one among
them offers it to all. Republish finds what they miss. Who has a record already says so to an INVENTORY.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.subnet_limits import limit_per_subnet
from dht14.maintenance.inventories import DueRecord
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.maintenance.turns import Turn, Turns, offers_to_one
from dht14.node.concurrency import run_limited
from dht14.node.ports import Rpc
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import MAX_SERVES, ResyncState
from dht14.records.record import Record
from dht14.records.store import LocalStore
from dht14.wire.messages import Resynced

REPAIR_INTERVAL = 5.0
"""Seconds between two passes."""

MAX_LOOKS_WAITED = 3
"""Passes for which repair waits while the neighbours change at each pass: nodes come and go in groups."""

REPAIRERS = 3
"""The nearest holders, which offer records to a new one. A write is on most of the group, so one of them has
it."""

PAGES_AT_ONCE = 16
"""Pages of the store that are compared at the same time: each group of them costs two round trips."""

OFFERS_OF_A_RECORD = 3
"""How often a record is offered to a contact that does not answer: of many records some offers are lost."""

SERVING_SECONDS, REPAIR_SECONDS = 10.0, 60.0
"""How long a contact is offered records while others wait: those that have asked for what they missed, or
those that a change of the neighbours has made holders."""

RESEND_WINDOW = 2.0
"""Seconds after the beginning of a contact's turn in which another RESYNC of it is only the same, sent again.
After an absence it comes later."""


@define(eq=False)
class Repair:
    """Compares the neighbours at each pass, and scans the store when they have changed."""

    log = Logger()

    _table: RoutingTable
    _store: LocalStore
    _replicator: Replicator
    _republish_times: RepublishTimes
    _rpc: Rpc
    _clock: IReactorTime
    _resync_state: ResyncState
    _before: Mapping[int, Contact] | None = field(default=None, init=False)
    """The neighbours that were offered all records. None at the start: records of an earlier run may be
    missing elsewhere, or be outdated. Empty if this node was alone: then nobody else has what it stored."""
    _at_last_look: frozenset[int] = field(default=frozenset(), init=False)
    _waited: int = field(default=0, init=False)
    """Passes since the neighbours began to change."""
    _settled: tuple[Contact, ...] | None = field(default=None, init=False)
    """What the table returned as neighbours when they were last found unchanged."""
    _missed: Mapping[int, int] = field(factory=dict, init=False)
    """The ids of the neighbours that left an offer of the last scan without an answer, took themselves for
    too far from the key, or lost their turn, and for how many scans in a row they have done so."""
    _again: set[int] = field(factory=set, init=False)
    """Those of them that are offered everything once more, as newcomers are."""

    def has_news(self) -> bool:
        """Whether the neighbours may have changed since a pass last found that they had not. Costs nothing
        while the table stays as it is."""
        return self._table.neighbours() is not self._settled

    def has_askers(self) -> bool:
        """Whether a contact waits for what it missed."""
        return self._resync_state.has_requests and self._store.is_open()

    async def one_pass(self) -> None:
        """If the neighbours have changed and are stable again, offer all records."""
        if not self._store.is_open():
            return
        neighbours = self._neighbours()
        if not self._before and not self._resync_state.is_current:
            return  # First the other holders offer what this node has missed.
        now = frozenset(neighbours)
        if self._before is None and not neighbours:
            self._before = neighbours
        if self._before is not None and now == self._before.keys() and self._again.isdisjoint(now):
            self._settled = self._table.neighbours()
            return
        if self._table.is_cut_off:
            return
        if now != self._at_last_look and self._waited < MAX_LOOKS_WAITED:
            self._at_last_look = now
            self._waited += 1
            return
        before, self._before, self._waited, self._settled = self._before, neighbours, 0, None
        turns = Turns(REPAIR_SECONDS, lambda: self._neighbours().keys() != now)
        await self._offer_records(before, neighbours, turns)
        missed = [
            turn.contact.node_id for turn in turns if turn.is_unheard or turn.is_not_near or turn.is_put_off
        ]
        self._missed = {i: self._missed.get(i, 0) + 1 for i in missed}
        self._again = {i for i, scans in self._missed.items() if scans < MAX_SERVES}
        if self._again and before is None:
            self._before = None

    def _neighbours(self) -> dict[int, Contact]:
        return {contact.node_id: contact for contact in self._table.neighbours()}

    async def serve_askers(self) -> None:
        """Serve the contacts that have sent RESYNC, until none is left whose turn has come."""
        while self.has_askers():
            neighbours, began = self._neighbours(), self._clock.seconds()
            askers = self._resync_state.take_requests(neighbours, began)
            if not askers:
                return
            await self._serve(askers, neighbours, began)

    async def _serve(
        self, askers: Mapping[int, Contact], neighbours: Mapping[int, Contact], began: float
    ) -> None:
        """Offer these contacts all records that they should hold, then send RESYNCED to those that have
        answered all of these offers. The others are served again, and so are those that have no room: for
        what they were not offered they must not vote. One that is slow has another turn when others have had
        theirs."""
        for node_id in askers:
            self._replicator.returned(node_id)
        others = {node_id: contact for node_id, contact in neighbours.items() if node_id not in askers}
        turns = Turns(
            SERVING_SECONDS,
            lambda: len(askers) > 1 or self._resync_state.has_requests_of_others(askers),
            {node_id: self._resync_state.mark_of(node_id) for node_id in askers},
        )
        # Where they asked from: what this node has in its table may be a former address, or another node that
        # has the same identity.
        reached = {i: askers.get(i, contact) for i, contact in neighbours.items()}
        await self._offer_records(others, reached, turns)
        unheard = {turn.contact.node_id for turn in turns if turn.is_unheard}
        put_off = {turn.contact.node_id: turn.mark for turn in turns if turn.is_put_off}
        if self._before is not None:
            served = askers.keys() & neighbours.keys() - unheard - put_off.keys()
            self._before = {**self._before, **{i: neighbours[i] for i in served}}
            self._again -= served
        for node_id, contact in askers.items():
            now = self._clock.seconds()
            if node_id in unheard or not self._replicator.accepts_copies(node_id):
                self._resync_state.not_served(contact, now)
            elif node_id in put_off:
                self._resync_state.put_off(contact, put_off[node_id], now)
            elif not self._resync_state.has_asked_since(node_id, began + RESEND_WINDOW):
                self._rpc.ask(contact, Resynced()).addErrback(self._not_told, contact)

    def _not_told(self, failure: Failure, contact: Contact) -> None:
        failure.trap(CallFailed)
        self._resync_state.not_served(contact, self._clock.seconds())

    async def _offer_records(
        self, before: Mapping[int, Contact] | None, neighbours: Mapping[int, Contact], turns: Turns
    ) -> None:
        """Offer each record to those of its new holders that have a turn. Each contact is offered its records
        beside the others: a slow one delays these only until its turn is over."""
        began, given = self._clock.seconds(), 0
        async for page in scan(self._store, self._clock, PAGES_AT_ONCE, turns.first_mark):
            due: dict[Turn, list[Record]] = {}
            for record in page.records:
                if record.is_cached:
                    continue
                for contact in self._newcomers(record, before, neighbours):
                    turn = turns.of(contact, page)
                    if turn is not None:
                        due.setdefault(turn, []).append(record)
            lacked: set[int] = set()
            at_once = offers_to_one(max(len(due), 1))
            jobs = (self._bring(turn, records, turns, at_once, lacked) for turn, records in due.items())
            await run_limited(jobs, len(due))
            turns.page_ended(page)
            given += len(lacked)
            if turns.are_over:
                break
        if given:
            self.log.debug(
                "Neighbours changed; records offered to new holders: {records}, in {seconds:.1f} s.",
                event="repair.ended",
                records=given,
                seconds=self._clock.seconds() - began,
            )

    async def _bring(
        self, turn: Turn, records: Sequence[Record], turns: Turns, at_once: int, lacked: set[int]
    ) -> None:
        """Offer a contact those of the records that it lacks; add their keys to `lacked`."""
        turn.began(self._clock.seconds())
        lacking = await self._replicator.inventories.lacking([DueRecord(r, [turn.contact]) for r in records])
        await run_limited((self._offer(one.record, turn, turns) for one in lacking), at_once)
        turn.ended(self._clock.seconds())
        lacked.update(one.record.key for one in lacking)

    async def _offer(self, record: Record, turn: Turn, turns: Turns) -> None:
        """Offer a record to a contact while it has its turn, and once more if it does not answer."""
        for _ in range(OFFERS_OF_A_RECORD):
            if turns.put_off_if_due(turn, self._clock.seconds()):
                return
            if not turn.may_answer(record):
                break
            if turn.came(record, await self._replicator.offer(record, [turn.contact])):
                return
        turn.is_unheard = True

    def _newcomers(
        self, record: Record, before: Mapping[int, Contact] | None, neighbours: Mapping[int, Contact]
    ) -> list[Contact]:
        """Return the new holders of the record, if this node must offer it to them."""
        own_id = self._table.own_id
        former = self._nearest(record, before or {})
        remaining = [i for i in former if i != own_id and i in neighbours and i not in self._again]
        # This node has the record, even if others were holders before it: when these die at once, it is the
        # one that must not have waited for them.
        remaining = sorted([*remaining, own_id], key=record.key.__xor__)
        is_known = before is None and self._republish_times.was_republished(record.key)
        if own_id not in remaining[:REPAIRERS] or is_known:
            return []
        # One of the nearer ones has gone just now. It may have died before the former pass, unnoticed: then
        # nobody has offered the record to those that became holders in that pass.
        served = former if own_id in former[:REPAIRERS] else []
        return [
            neighbours[i]
            for i in self._nearest(record, neighbours)
            if i != own_id and (i not in served or i in self._again)
        ]

    def _nearest(self, record: Record, neighbours: Mapping[int, Contact]) -> list[int]:
        """Return the ids of the record's holders among these and this node, nearest first, limited per
        subnet."""
        takers = [c for node_id, c in neighbours.items() if self._replicator.accepts_copies(node_id)]
        takers.append(Contact(self._table.own_id, ("", 0)))
        takers.sort(key=lambda contact: contact.node_id ^ record.key)
        return [
            c.node_id for c in islice(limit_per_subnet(takers, self._table.subnet_of), record.replication)
        ]
