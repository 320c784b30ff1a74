"""Inventories: before many records are offered to a contact, asks it with INVENTORY which of them it lacks.

A contact that was away for a moment has almost all of them: then one datagram stands for 24 OFFERs.
"""

from collections.abc import Iterable, Sequence

from attrs import define, frozen
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.node.ports import Rpc
from dht14.records.record import Record
from dht14.wire.inventory import MAX_ENTRIES, MAX_TTL_SECONDS
from dht14.wire.messages import Inventory, InventoryEntry, Lacking, mark_of

INVENTORY_TIMEOUT = 1.0
"""Seconds to wait for an answer; then the records are offered one by one."""


@frozen
class DueRecord:
    """A record that is to be offered, and the contacts that should get it."""

    record: Record
    contacts: list[Contact]


@define(eq=False)
class Inventories:
    """Asks contacts which records they lack."""

    _rpc: Rpc
    _clock: IReactorTime

    async def lacking(self, due: Sequence[DueRecord]) -> list[DueRecord]:
        """Return what is still to be offered: to each contact the records that it lacks, and all where it
        does not say."""
        left: list[list[Contact]] = [[] for _ in due]
        await gatherResults(
            [
                Deferred.fromCoroutine(self._compare(contact, indexes, due, left))
                for contact, indexes in _indexes_by_contact(due)
            ],
            consumeErrors=True,
        )
        return [DueRecord(one.record, contacts) for one, contacts in zip(due, left, strict=True) if contacts]

    async def _compare(
        self, contact: Contact, indexes: list[int], due: Sequence[DueRecord], left: list[list[Contact]]
    ) -> None:
        """Ask one contact, and add it to the lists in `left` of the records that it lacks."""
        parts = [indexes[first : first + MAX_ENTRIES] for first in range(0, len(indexes), MAX_ENTRIES)]

        async def ask(part: list[int]) -> None:
            answer = await self._ask(contact, [due[index].record for index in part])
            for entry, index in enumerate(part):
                if answer.wants(entry):
                    left[index].append(contact)

        # To a contact that has been silent only one call at a time is sent until it has answered.
        await ask(parts[0])
        await gatherResults([Deferred.fromCoroutine(ask(part)) for part in parts[1:]], consumeErrors=True)

    async def _ask(self, contact: Contact, records: Sequence[Record]) -> Lacking:
        if len(records) > 1:  # An OFFER asks the same of a single one.
            inventory = _inventory_of(records, self._clock.seconds())
            try:
                reply = await self._rpc.ask(contact, inventory).addTimeout(INVENTORY_TIMEOUT, self._clock)
            except (CallFailed, TimeoutError):
                pass
            else:
                if isinstance(reply, Lacking):
                    return reply
        return Lacking((1 << len(records)) - 1)


def _indexes_by_contact(due: Sequence[DueRecord]) -> Iterable[tuple[Contact, list[int]]]:
    """Return each contact with the indexes of the records that it should get."""
    by_contact: dict[int, tuple[Contact, list[int]]] = {}
    for index, one in enumerate(due):
        for contact in one.contacts:
            by_contact.setdefault(contact.node_id, (contact, []))[1].append(index)
    return by_contact.values()


def _inventory_of(records: Sequence[Record], now: float) -> Inventory:
    return Inventory(
        tuple(
            InventoryEntry(
                record.key,
                mark_of(record.version, record.digest),
                min(max(record.remaining_ms(now) // 1000, 0), MAX_TTL_SECONDS),
                record.replication,
            )
            for record in records
        )
    )
