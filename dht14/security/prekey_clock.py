"""The time of day for pre-keys: which expiry to write, and whether the expiry of another node has passed.

A single clock may be wrong by years, and may be set at any moment. A node that trusted its own clock alone
could take all pre-keys for expired, or sign pre-keys that all others take for expired: nobody could reach it.
Every pre-key says when it was made, so each peer that proved to own its pre-key has told its time of day. The
median counts.

The versions of records follow another clock, `node.network_clock.NetworkClock`: it takes the times in PONGs,
which only nodes in a session have sent. A handshake comes before that.
"""

from collections.abc import Callable
from statistics import median_high, median_low

from attrs import define, field

from dht14.bounded import BoundedDict

MAX_PEER_TIMES = 15
"""How many peers count, the latest ones. An attacker with most of them can make an old pre-key pass here,
which helps only a thief of that pre-key."""


@define(eq=False)
class PrekeyClock:
    """The time of day, seconds since 1970. `now` is the monotonic clock of this node."""

    _wall: Callable[[], float]
    """The time of day of this host: one of the times."""
    _ahead: BoundedDict[int, float] = field(factory=lambda: BoundedDict(MAX_PEER_TIMES), init=False)
    """How far the times of peers are ahead of the monotonic clock, by node id."""

    def heard(self, node_id: int, time: float, now: float) -> None:
        """A peer that proved its id told this time of day."""
        self._ahead.renew(node_id, time - now)

    def time_to_sign(self, now: float) -> float:
        """Return the time to date a pre-key with; of the two in the middle the later, which both accept."""
        return median_high(self._times(now))

    def time_to_judge(self, time: float, now: float) -> float:
        """Return the time to judge a pre-key by whose maker says that it is `time`.

        Of the two in the middle it is the earlier. Two nodes that know nobody else must be able to begin.
        """
        return median_low([*self._times(now), time])

    def _times(self, now: float) -> list[float]:
        return [self._wall(), *(ahead + now for ahead in self._ahead.values())]
