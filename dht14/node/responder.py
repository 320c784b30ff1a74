"""Answers the requests of other nodes, each at once and without asking other nodes."""

from collections.abc import Callable

from attrs import define, field

from dht14 import __version__
from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.network_clock import NetworkClock
from dht14.node.notifier import Notifier
from dht14.node.ports import Respond
from dht14.node.read_responder import ReadResponder
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Download, Transfer, Upload
from dht14.node.write_responder import WriteResponder
from dht14.records.store import RecordStore, Refusal
from dht14.security.tickets import Tickets
from dht14.wire.messages import (
    MAX_SOFTWARE_BYTES,
    Announce,
    Describe,
    Described,
    FindNode,
    FindValue,
    Inventory,
    Notify,
    Offer,
    Ping,
    Pong,
    Refused,
    Reply,
    Request,
    Resync,
    Resynced,
    Store,
    Watch,
)

_DESCRIBED = Described(f"dht14/{__version__}".encode()[:MAX_SOFTWARE_BYTES])


@define(eq=False)
class Responder:
    """What this node answers to others.

    A node without a store holds no values: it is a bootstrap node, and refuses every STORE.
    """

    _neighbourhood: Neighbourhood
    _store: RecordStore | None
    _max_ttl: float
    _tickets: Tickets[Transfer]
    _time: NetworkClock
    _republish_times: RepublishTimes = field(factory=RepublishTimes)
    _resync_state: ResyncState = field(factory=ResyncState)
    _notifier: Notifier | None = None
    """None: this node tells nobody of changes."""
    on_notify: Callable[[int, bytes, int], bool] = field(default=lambda key, mark, node_id: False, init=False)
    """Called with the key, the mark and the sender of each NOTIFY; returns whether it was asked for."""
    _table: RoutingTable = field(init=False)
    _is_leaving: bool = field(default=False, init=False)
    _reads: ReadResponder = field(init=False)
    _writes: WriteResponder = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._table = self._neighbourhood.table
        self._reads = ReadResponder(self._table, self._store, self._tickets, self._resync_state)
        self._writes = WriteResponder(
            self._neighbourhood,
            self._store,
            self._max_ttl,
            self._tickets,
            self._time,
            self._republish_times,
            self._resync_state,
        )

    def stop_storing(self) -> None:
        """Refuse all records from now on, and bring nobody what it missed: this node is about to leave."""
        self._is_leaving = True
        self._writes.stop_storing()

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Answer one request of `sender` by calling `respond` once, now or when the store has decided."""
        if isinstance(request, FindNode):
            respond(self._reads.nodes(request.target, sender))
        elif isinstance(request, FindValue):
            respond(self._reads.value(request, sender, now))
        elif isinstance(request, (Ping, Announce)):
            respond(self._pong())
        elif isinstance(request, Describe):
            respond(_DESCRIBED)
        elif isinstance(request, Store):
            self._writes.store(request, sender, now, respond)
        elif isinstance(request, Offer):
            self._writes.offer(request, sender, now, respond)
        elif isinstance(request, Inventory):
            respond(self._writes.inventory(request, now))
        elif isinstance(request, Watch):
            respond(self._watch(request, sender, now))
        elif isinstance(request, Notify):
            is_watched = self.on_notify(request.key, request.mark, sender.node_id)
            respond(self._pong() if is_watched else Refused((), Refusal.NOT_WATCHED))
        else:
            respond(self._resync(request, sender, now))

    def _watch(self, request: Watch, watcher: Contact, now: float) -> Reply:
        if self._notifier is None:
            return Refused((), Refusal.NO_VALUES)
        nearer = self._reads.missing_in(request.view, request.key, watcher)
        return self._notifier.answer(request, watcher, nearer, now)

    def _pong(self) -> Pong:
        return Pong(int(self._time.wall() * 1000))

    def _resync(self, request: Resync | Resynced, sender: Contact, now: float) -> Pong | Refused:
        if self._store is None:
            return Refused((), Refusal.NO_VALUES)
        if isinstance(request, Resync):
            if self._is_leaving:
                return Refused((), Refusal.LEAVING)
            self._resync_state.requested(sender, now)
        else:
            self._resync_state.resynced(sender.node_id)
        return self._pong()

    # The bulk channel

    def redeem(self, ticket: bytes, public_key: bytes, now: float) -> Transfer | None:
        """Return the transfer of a ticket that the peer with this raw public key was given, or None."""
        return self._tickets.redeem(ticket, public_key, now)

    def take(self, upload: Upload, value: bytes, now: float, respond: Respond) -> None:
        """Answer the push of a value that was wanted, like a STORE. It has the length that was offered."""
        self._writes.upload(upload, value, now, respond)

    def give(self, download: Download, now: float) -> bytes | None:
        """Return the value that was asked for; None if this node holds another one by now, or none."""
        return self._reads.download(download, now)
