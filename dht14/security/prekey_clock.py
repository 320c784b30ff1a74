"""The time of day as this node and those it has met have it, for what a pre-key says of its own end.

One clock alone may be wrong however far, and may be set at any moment: a node that judged by it would take the pre-keys
of everybody for expired, or sign some that everybody takes for that, and could be reached no more. Every pre-key tells
when it was made, so each peer that has proven to have its pre-key has told the time; the median counts.
"""

from collections import OrderedDict
from collections.abc import Callable
from statistics import median_high, median_low

from attrs import define, field

MAX_PEER_TIMES = 15
"""Peers whose times are remembered, the last to tell. An attacker that brings most of them can make an old pre-key pass
here; it is worth something only to who has stolen it."""


@define(eq=False)
class PrekeyClock:
    """What time it is, in seconds since 1970. `now` is the node's own clock, which nobody sets."""

    _wall: Callable[[], float]
    """The clock of this host: one voice among the others."""
    _ahead: OrderedDict[int, float] = field(factory=OrderedDict, init=False)
    """By how much the peers' times are ahead of the node's own clock, by node id."""

    def heard(self, node_id: int, time: float, now: float) -> None:
        """A peer that has proven who it is says that it is this time."""
        self._ahead[node_id] = time - now
        self._ahead.move_to_end(node_id)
        if len(self._ahead) > MAX_PEER_TIMES:
            self._ahead.popitem(last=False)

    def time_to_sign(self, now: float) -> float:
        """The time to date what others judge; between two opinions the later: what is dated so is good for both."""
        return median_high(self._times(now))

    def time_to_judge(self, time: float, now: float) -> float:
        """The time to judge by what another one has dated, who says that it is `time`; between two opinions the
        earlier. Two who have nobody else to ask must be able to begin."""
        return median_low([*self._times(now), time])

    def _times(self, now: float) -> list[float]:
        return [self._wall(), *(ahead + now for ahead in self._ahead.values())]
