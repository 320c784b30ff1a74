"""The holder's side of watching: answers WATCH, and sends a NOTIFY for each change to those with a lease.

A NOTIFY goes only to the address from which its receiver asked, in the session in which it asked: nobody can
turn it against a third party. It says only that something has changed: the watcher reads the key.
At most one NOTIFY is under way to each watcher of a key, so changes that come faster become one.
"""

from collections import deque

from attrs import define
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import REPLICATION
from dht14.node.leases import LEASE_SECONDS, Lease, LeaseTable
from dht14.node.ports import Rpc
from dht14.node.timers import cancel_timer
from dht14.node.write_responder import FAR_FACTOR
from dht14.records.store import RecordStore, Refusal
from dht14.security.rate_limiter import TokenBucket
from dht14.wire.messages import NOTHING_HELD, Notify, Refused, Reply, Watch, Watching, mark_of

NOTIFIES_PER_SECOND, NOTIFY_BURST = 2_000.0, 256.0
"""Of all watchers together. One write of a key with many watchers must not hold up the reactor."""

NOTIFY_SPACING = 0.1
"""Seconds between the reply to a NOTIFY and the next one to the same watcher of the same key."""

FEW_LEASES = 32
"""A key with more leases is looked through once in NOTIFY_SPACING, however often it is written."""

DRAIN_INTERVAL = 0.02
"""Seconds until the next NOTIFYs are sent, where the rate allows no more now."""


class Notifier(Service):
    """Tells other nodes of changes in the store of this one."""

    name = "notifier"

    def __init__(
        self, neighbourhood: Neighbourhood, store: RecordStore, leases: LeaseTable, clock: IReactorTime
    ) -> None:
        self._neighbourhood = neighbourhood
        self._store = store
        self._leases = leases
        self._clock = clock
        self._rpc: Rpc | None = None
        """None while the node is being built, and when it has stopped."""
        self._rate = TokenBucket(NOTIFIES_PER_SECOND, NOTIFY_BURST, clock.seconds())
        self._to_tell: deque[Lease] = deque()
        self._draining: IDelayedCall | None = None
        self._resting: dict[Lease, IDelayedCall] = {}
        """Leases whose watcher was told a moment ago."""
        self._looked_through: dict[int, IDelayedCall] = {}
        """Keys with many leases that were looked through a moment ago."""
        self._to_look: set[int] = set()
        """Those of them that were written since."""

    def connect(self, rpc: Rpc) -> None:
        """Send through `rpc` from now on."""
        self._rpc = rpc

    @property
    def leases(self) -> int:
        """The number of leases that others have."""
        return len(self._leases)

    def stopService(self) -> None:
        """Tell nobody any more."""
        self._rpc = None
        cancel_timer(self._draining)
        for timer in (*self._resting.values(), *self._looked_through.values()):
            cancel_timer(timer)
        self._resting.clear()
        self._looked_through.clear()
        self._to_look.clear()
        self._to_tell.clear()
        super().stopService()

    # WATCH

    def answer(self, request: Watch, watcher: Contact, nearer: tuple[Contact, ...], now: float) -> Reply:
        """Answer a WATCH. `nearer` are the members of the key's group that the watcher does not know."""
        mark = self._mark(request.key, now)
        if not request.begins:
            lease = self._leases.find(request.key, watcher.node_id)
            if lease is not None:
                self._leases.end(lease)
            return Watching(0, mark, nearer)
        if not self._neighbourhood.may_hold(request.key, FAR_FACTOR * REPLICATION):
            return Refused(nearer, Refusal.NOT_NEAR)
        lease_or_refusal = self._leases.grant(request.key, watcher, mark, now)
        if isinstance(lease_or_refusal, Refusal):
            return Refused(nearer, lease_or_refusal)
        return Watching(int(LEASE_SECONDS * 1000), mark, nearer)

    def _mark(self, key: int, now: float) -> bytes:
        record = self._store.get(key, now)
        return NOTHING_HELD if record is None else mark_of(record.version, record.digest)

    # NOTIFY

    def record_held(self, key: int) -> None:
        """The store holds the record that was offered under this key, perhaps the same as before."""
        if key in self._looked_through:
            self._to_look.add(key)
            return
        now = self._clock.seconds()
        leases = self._leases.of_key(key, now)
        if not leases or self._rpc is None:
            return
        mark = self._mark(key, now)
        for lease in leases:
            self._queue(lease, mark)
        if len(leases) > FEW_LEASES:
            self._looked_through[key] = self._clock.callLater(NOTIFY_SPACING, self._may_look_again, key)
        self._drain()

    def _may_look_again(self, key: int) -> None:
        del self._looked_through[key]
        if key in self._to_look:
            self._to_look.discard(key)
            self.record_held(key)

    def _queue(self, lease: Lease, mark: bytes) -> None:
        if lease.told != mark and not lease.is_telling:
            lease.is_telling = True
            self._to_tell.append(lease)

    def _drain(self) -> None:
        """Send the NOTIFYs that the rate allows now, the one that has waited longest first."""
        now = self._clock.seconds()
        marks: dict[int, bytes] = {}
        while self._to_tell and self._rate.take(now):
            lease = self._to_tell.popleft()
            if lease.key not in marks:
                # A value may be large, and all that a mark needs of it is its digest.
                marks[lease.key] = self._mark(lease.key, now)
            self._tell(lease, marks[lease.key], now)
        if self._to_tell and (self._draining is None or not self._draining.active()):
            self._draining = self._clock.callLater(DRAIN_INTERVAL, self._drain)

    def _tell(self, lease: Lease, mark: bytes, now: float) -> None:
        if self._rpc is None or lease not in self._leases or lease.ends_at <= now or mark == lease.told:
            lease.is_telling = False
            return
        self._rpc.call(lease.watcher, Notify(lease.key, mark), _Telling(self, lease, mark))

    def told(self, lease: Lease, mark: bytes) -> None:
        """The watcher has confirmed this mark."""
        lease.told = mark
        if self._rpc is not None:
            self._resting[lease] = self._clock.callLater(NOTIFY_SPACING, self._rested, lease)

    def _rested(self, lease: Lease) -> None:
        del self._resting[lease]
        lease.is_telling = False
        if lease in self._leases:
            self._queue(lease, self._mark(lease.key, self._clock.seconds()))
            self._drain()

    def not_told(self, lease: Lease) -> None:
        """The watcher is gone, or does not watch the key any more. If it is there all the same, its next
        WATCH brings it a lease and the mark."""
        lease.is_telling = False
        self._leases.end(lease)


@define(eq=False)
class _Telling:
    """The observer of one NOTIFY."""

    _notifier: Notifier
    _lease: Lease
    _mark: bytes

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        if isinstance(reply, Refused):
            self._notifier.not_told(self._lease)
        else:
            self._notifier.told(self._lease, self._mark)

    def call_slow(self, contact: Contact) -> None:
        pass

    def call_silent(self, contact: Contact) -> None:
        pass

    def call_failed(self, contact: Contact) -> None:
        self._notifier.not_told(self._lease)
