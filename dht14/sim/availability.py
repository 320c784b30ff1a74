"""When each node was up, and so which writes a network must still keep.

A value with r copies must survive the sudden death of all but one of its holders, and have r copies again ten
minutes later. Nothing is promised once all holders may be lost. The holders are not known from outside: they
are the nodes nearest to the key, and a few more that may have replaced slow ones.
"""

from math import inf

from attrs import define, field

EXTRA_HOLDERS = 4
"""Nodes beyond the nearest ones that may hold a copy instead of one of them."""

REPAIR_SECONDS = 600.0
"""Seconds after which a value that has a holder left has all its copies again."""

RETURN_SECONDS = 30.0
"""Seconds after which the others know a node that returned with its disk."""


@define(eq=False)
class NodeUptime:
    """The start of one node, and its downtimes."""

    came_up: float
    downtimes: list[tuple[float, float, bool]] = field(factory=list)
    """Start, end (`inf`: it is down), and whether it returned with its records."""
    hangs: list[tuple[float, float]] = field(factory=list)
    """Start and end (`inf`: not yet) of the times in which its disk wrote nothing. It still has its records
    then, but writers that it does not answer take it for dead."""

    def could_store(self, since: float, until: float) -> bool:
        """Whether it was up at some time between these, and its disk wrote at some time."""
        return (
            self.came_up <= until
            and not any(went_down <= since and until <= back for went_down, back, _ in self.downtimes)
            and not any(hung <= since and until <= mended for hung, mended in self.hangs)
        )

    def has_hung(self, since: float, until: float) -> bool:
        """Whether its disk wrote nothing for some of the time between these: then it need not have stored a
        record, and need not have lost it."""
        return any(hung <= until and since <= mended for hung, mended in self.hangs)

    def has_lost(self, since: float, until: float) -> bool:
        """Whether a record that it stored at `since` is not available from it at `until`."""
        return any(
            back > since and went_down <= until and not (kept and back + RETURN_SECONDS <= until)
            for went_down, back, kept in self.downtimes
        )


@define(eq=False)
class Availability:
    """The uptimes of all nodes that hold values, by node id. Times are true times.

    What happens to other nodes, which have never come up here, is ignored.
    """

    _uptimes: dict[int, NodeUptime] = field(factory=dict, init=False)
    _hostile: set[int] = field(factory=set, init=False)

    def came_up(self, node_id: int, now: float, kept: bool = False) -> None:
        """A node has started; `kept`: with the records that it held before."""
        uptime = self._uptimes.setdefault(node_id, NodeUptime(now))
        if uptime.downtimes and uptime.downtimes[-1][1] == inf:
            uptime.downtimes[-1] = uptime.downtimes[-1][0], now, kept

    def went_down(self, node_id: int, now: float) -> None:
        """A node was killed, frozen or cut off."""
        uptime = self._uptimes.get(node_id)
        if uptime is not None and (not uptime.downtimes or uptime.downtimes[-1][1] < inf):
            uptime.downtimes.append((now, inf, False))

    def disk_hung(self, node_id: int, now: float) -> None:
        """The disk of a node writes nothing any more: writes hang, or fail."""
        if (uptime := self._uptimes.get(node_id)) is not None:
            uptime.hangs.append((now, inf))

    def disk_mended(self, node_id: int, now: float) -> None:
        """It writes again."""
        if (uptime := self._uptimes.get(node_id)) is not None:
            uptime.hangs = [(hung, min(mended, now)) for hung, mended in uptime.hangs]

    def turned_hostile(self, node_id: int) -> None:
        """A node is hostile: no record is available from it."""
        self._hostile.add(node_id)

    @property
    def all_honest(self) -> bool:
        """Whether no node is hostile."""
        return not self._hostile

    def must_keep(self, key: int, copies: int, invoked_at: float, responded_at: float, now: float) -> bool:
        """Whether a get at `now` must find a put with these copies: whether repair has always been faster
        than the loss of copies."""
        while not self._may_be_lost(
            key, copies, invoked_at, responded_at, min(invoked_at + REPAIR_SECONDS, now)
        ):
            invoked_at += REPAIR_SECONDS
            responded_at = max(invoked_at, responded_at)
            if invoked_at > now:
                return True
        return False

    def _may_be_lost(
        self, key: int, copies: int, invoked_at: float, responded_at: float, until: float
    ) -> bool:
        there = [
            node for node, uptime in self._uptimes.items() if uptime.could_store(invoked_at, responded_at)
        ]
        nearest = sorted(there, key=key.__xor__)[: copies + EXTRA_HOLDERS]
        lost = sum(
            node in self._hostile
            or self._uptimes[node].has_lost(invoked_at, until)
            or self._uptimes[node].has_hung(invoked_at, responded_at)
            for node in nearest
        )
        return bool(self._uptimes) and lost >= min(copies, len(nearest))
