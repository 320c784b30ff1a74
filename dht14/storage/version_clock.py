"""The only reader of the time of day among a node's parts: it makes the versions of open records, and judges them.

All else is timed by a clock that nobody sets. A version cannot be: it is compared at nodes that share no other clock.
"""

from collections.abc import Callable

from attrs import frozen

from dht14.storage.record import newest_believable, next_version

HOLDERS_BEHIND = 3600.0
"""Seconds that a version keeps off the newest believable one when it is to be surpassed: holders whose clocks are
behind ours by no more believe what comes of it. A liar could else have writers write what nobody takes."""


@frozen
class VersionClock:
    """Versions of this moment."""

    _wall: Callable[[], float]
    """Seconds since 1970 by the clock of this host, which may be wrong and may be set while the node runs."""

    def next(self, newest_seen: int) -> int:
        """A version for a new value, above all that was seen."""
        return next_version(self._wall(), newest_seen)

    def newest_believable(self) -> int:
        """The greatest version that an honest node takes now."""
        return newest_believable(self._wall())

    def newest_to_surpass(self) -> int:
        """The greatest version that a writer goes above when it meets it."""
        return newest_believable(self._wall() - HOLDERS_BEHIND)

    def believes(self, version: int, owned: bool) -> bool:
        """Whether somebody with a right clock can have written it by now. An owner counts as it likes.

        Ask it where a record, or a claim of one, comes from outside; what is held was believed once.
        """
        return owned or version <= self.newest_believable()
