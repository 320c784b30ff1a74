"""Answers FIND_NODE and FIND_VALUE from the routing table and the store."""

from attrs import define, field, frozen

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, MAX_INLINE_VALUE, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Download, Transfer, issue_ticket
from dht14.records.record import Record
from dht14.records.store import RecordStore
from dht14.records.version_floors import NO_FLOOR
from dht14.security.tickets import Tickets
from dht14.wire.contacts import first_fitting
from dht14.wire.messages import (
    MAX_VALUE_AND_CONTACTS,
    VIEW_PART_BYTES,
    FindValue,
    Lapsed,
    LargeValue,
    Nodes,
    Value,
    view_of,
)

MAX_CACHED = 256
"""Targets whose nearest contacts are remembered. A plain dict that is emptied when full: these answers are
looked up for every request, and all of them are dropped anyway when the table changes."""


@frozen(eq=False)
class _CachedNodes:
    """The contacts nearest to a target: one more than a reply names, because the asker itself is left out."""

    known: list[Contact]
    ids: tuple[int, ...]
    """Theirs. A set costs more to make than it saves: most answers are used once or twice."""
    nodes: Nodes

    @classmethod
    def of(cls, known: list[Contact], holds_values: bool) -> "_CachedNodes":
        ids = tuple([contact.node_id for contact in known])
        return cls(known, ids, Nodes(tuple(known[:K]), holds_values))

    def without(self, asker: Contact) -> Nodes:
        """Return the reply without the asker, but with another node that has its id at another address."""
        others = [contact for contact in self.known if not contact.is_same(asker)]
        return Nodes(tuple(others[:K]), self.nodes.holds_values)


@frozen(eq=False)
class _HolderGroup:
    """The nodes nearest to a key, as far as the table knew at this revision."""

    revision: int
    view: bytes
    others: tuple[Contact, ...]
    """The group without this node, nearest first."""

    @classmethod
    def around(cls, key: int, table: RoutingTable) -> "_HolderGroup":
        known = table.holders(key, GROUP)
        ids = sorted((*(contact.node_id for contact in known), table.own_id), key=key.__xor__)[:GROUP]
        others = tuple(contact for contact in known if contact.node_id in ids)
        return cls(table.revision, view_of(ids), others)


@define(eq=False)
class ReadResponder:
    """What this node answers to readers."""

    _table: RoutingTable
    _store: RecordStore | None
    _tickets: Tickets[Transfer]
    _resync_state: ResyncState
    _cached: dict[int, _CachedNodes] = field(factory=dict, init=False)
    """Answers by target, valid while the table stays as it is."""
    _revision: int = field(default=0, init=False)
    """The revision of the table from which these were made."""
    _groups: dict[int, _HolderGroup] = field(factory=dict, init=False)
    """By key, for those who ask for values."""

    def nodes(self, target: int, asker: Contact) -> Nodes:
        """Answer a FIND_NODE.

        Many targets are asked for again and again (values with many readers, ids that their own nodes look
        up). Their contacts are found once, until the table changes.
        """
        table = self._table
        if table.revision != self._revision:
            self._revision = table.revision
            self._cached.clear()
        cached = self._cached.get(target)
        if cached is None:
            if len(self._cached) >= MAX_CACHED:
                self._cached.clear()
            known = table.closest(target, K + 1, live_only=True)
            cached = self._cached[target] = _CachedNodes.of(known, self._store is not None)
        return cached.without(asker) if asker.node_id in cached.ids else cached.nodes

    def value(self, request: FindValue, asker: Contact, now: float) -> Value | LargeValue | Nodes | Lapsed:
        """Answer a FIND_VALUE: with the record if this node has one, else with the nearest contacts."""
        key = request.key
        record = self._store.get(key, now) if self._store is not None else None
        if record is None or (remaining := record.remaining_ms(now)) < 1:
            return self._no_value(key, asker, now)
        nearer = self.missing_in(request.view, key, asker)
        if len(record.value) > MAX_INLINE_VALUE:
            return self._large_value(record, remaining, nearer, asker, now)
        if nearer:
            nearer = first_fitting(nearer, MAX_VALUE_AND_CONTACTS - len(record.value))
        current = self._is_current(record)
        return Value(record.version, remaining, record.replication, current, record.value, nearer)

    def _large_value(
        self, record: Record, remaining: int, nearer: tuple[Contact, ...], asker: Contact, now: float
    ) -> LargeValue:
        length = len(record.value)
        ticket = issue_ticket(self._tickets, asker, Download(record.key, record.version, length), now)
        return LargeValue(
            record.version,
            remaining,
            record.replication,
            self._is_current(record),
            record.is_owned,
            length,
            record.digest,
            ticket,
            nearer,
        )

    def _is_current(self, record: Record) -> bool:
        """Whether the record is as new as any that this node was given. One that waits for a slow disk may be
        acknowledged already, by others."""
        assert self._store is not None
        return self._resync_state.is_current and not self._store.is_replacing(record)

    def _no_value(self, key: int, asker: Contact, now: float) -> Nodes | Lapsed:
        nodes = self.nodes(key, asker)
        floor = self._store.floor(key, now) if self._store is not None else NO_FLOOR
        return nodes if floor == NO_FLOOR else Lapsed(nodes.contacts, *floor)

    def missing_in(self, view: bytes, key: int, asker: Contact) -> tuple[Contact, ...]:
        """Return the nodes of the key's group that the asker does not know."""
        group = self._groups.get(key)
        if group is None or group.revision != self._table.revision:
            if len(self._groups) >= MAX_CACHED:
                self._groups.clear()
            group = self._groups[key] = _HolderGroup.around(key, self._table)
        if view == group.view:
            return ()
        known = {view[i : i + VIEW_PART_BYTES] for i in range(0, len(view), VIEW_PART_BYTES)}
        return tuple(
            contact
            for contact in group.others
            if contact.node_id != asker.node_id and view_of((contact.node_id,)) not in known
        )

    def download(self, download: Download, now: float) -> bytes | None:
        """Return the value of a ticket; None if this node holds another one by now, or none."""
        record = self._store.get(download.key, now) if self._store is not None else None
        if record is None or (record.version, len(record.value)) != (download.version, download.length):
            return None
        return record.value
