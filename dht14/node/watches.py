"""Watching: keeps leases at the holders of each watched key, reads it when they hint at a change, and tells
those who watch it what the read found.

A key is watched once in a node, however many of its clients do so. The leases are at the group of the key,
the nodes that readers and writers ask: a write that succeeded is at most of them, and each tells of it. Where
too few give a lease, the key is read at an interval instead.
"""

from functools import partial

from twisted.application.service import Service

from dht14.node.metrics import WatchMetrics
from dht14.node.watched_key import OnChange, Subscription, WatchAccess, WatchedKey
from dht14.records.receipt import NoRecord

MAX_WATCHED = 1_024
"""Keys that one node watches at a time."""

MAX_SUBSCRIPTIONS = 16_384
"""Clients' watches at one node, of all keys together."""


class Watches(Service):
    """The keys that one node watches for its clients."""

    name = "watches"

    def __init__(self, access: WatchAccess) -> None:
        self._access = access
        self._watched: dict[int, WatchedKey] = {}
        self._subscriptions = 0
        self._is_stopped = False

    @property
    def metrics(self) -> WatchMetrics:
        """What is counted of watches."""
        return self._access.metrics

    def stopService(self) -> None:
        """Watch nothing any more; who waits for a state gets none."""
        self._is_stopped = True
        for watched in list(self._watched.values()):
            for subscription in watched.subscriptions:
                subscription.end()
                subscription.on_change(NoRecord.NOT_READY)
        super().stopService()

    def watch(self, key: int, on_change: OnChange) -> Subscription | None:
        """Return a watch that begins with `Subscription.present`; None where there are too many already."""
        watched = self._watched.get(key)
        is_full = watched is None and len(self._watched) >= MAX_WATCHED
        if self._is_stopped or is_full or self._subscriptions >= MAX_SUBSCRIPTIONS:
            self.metrics.refused += 1
            return None
        if watched is None:
            watched = self._watched[key] = WatchedKey(key, self._access)
        subscription = Subscription(watched, on_change, partial(self._ended, key, watched))
        watched.add(subscription)
        self._subscriptions += 1
        self._count()
        return subscription

    def _ended(self, key: int, watched: WatchedKey, subscription: Subscription) -> None:
        """A client watches no more. With the last one the leases are given back."""
        if not watched.remove(subscription):
            return
        self._subscriptions -= 1
        watched.wait_no_more(subscription)
        if not watched.subscriptions:
            del self._watched[key]
            watched.end()
        self._count()

    def _count(self) -> None:
        self.metrics.watched, self.metrics.subscriptions = len(self._watched), self._subscriptions

    def notified(self, key: int, mark: bytes, node_id: int) -> bool:
        """A node says that its record of the key has changed. Return whether it was asked to."""
        watched = self._watched.get(key)
        if watched is not None and watched.notified(mark, node_id):
            return True
        self.metrics.unasked += 1
        return False

    def record_held(self, key: int) -> None:
        """The store of this node holds the record that was offered under this key."""
        watched = self._watched.get(key)
        if watched is not None:
            watched.record_held()
