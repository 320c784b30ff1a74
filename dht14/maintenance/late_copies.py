"""Late copies: after a PUT, offers the record to the holders that did not answer, once they answer again.

A holder whose datagrams were lost is alive, and readers ask it. Without its copy it would vote for the record
before. A pass every LATE_COPY_LOOK (5 s) offers what waits; it costs nothing while nothing does.
"""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.replicator import Replicator
from dht14.node.concurrency import run_limited
from dht14.records.record import Record

LATE_COPY_LOOK = 5.0
"""Seconds between two passes."""

LATE_COPY_TIMEOUT = 60.0
"""Seconds for which a copy waits. A holder that is away for longer is dropped from tables, or asks with
RESYNC."""

MAX_LATE_COPIES = 1024
"""Copies that wait at once; a further one replaces the oldest. None is longer than MAX_INLINE_VALUE."""

LATE_COPY_TRIES = 3
"""How often one copy is offered in vain."""

LATE_COPIES_AT_ONCE = 8
"""Copies that are offered at the same time."""


@define(eq=False)
class _LateCopy:
    """A copy that waits."""

    record: Record
    contact: Contact
    until: float
    tries: int = 0


@define(eq=False)
class LateCopies:
    """The copies that holders of this node's PUTs still lack."""

    _table: RoutingTable
    _replicator: Replicator
    _clock: IReactorTime
    _waiting: BoundedDict[tuple[int, int], _LateCopy] = field(
        factory=lambda: BoundedDict(MAX_LATE_COPIES), init=False
    )
    """By key and node id."""

    def missed(self, record: Record, contact: Contact) -> None:
        """The contact should hold the record, and did not answer its STORE. Longer values are left to
        republish."""
        if len(record.value) <= MAX_INLINE_VALUE:
            until = self._clock.seconds() + LATE_COPY_TIMEOUT
            self._waiting[record.key, contact.node_id] = _LateCopy(record, contact, until)

    def has_any(self) -> bool:
        """Whether a copy waits."""
        return bool(self._waiting)

    async def one_pass(self) -> None:
        """Offer the copies whose holders may answer."""
        now = self._clock.seconds()
        for place, copy in list(self._waiting.items()):
            if copy.until <= now or copy.record.expires_at <= now:
                del self._waiting[place]
        due = [copy for copy in self._waiting.values() if not self._table.is_suspect(copy.contact.node_id)]
        await run_limited((self._offer(copy) for copy in due), LATE_COPIES_AT_ONCE)

    async def _offer(self, copy: _LateCopy) -> None:
        copy.tries += 1
        answered = await self._replicator.offer_to(copy.contact, copy.record)
        place = copy.record.key, copy.contact.node_id
        # A later PUT may wait in its place by now.
        if self._waiting.get(place) is copy and (answered or copy.tries >= LATE_COPY_TRIES):
            del self._waiting[place]
