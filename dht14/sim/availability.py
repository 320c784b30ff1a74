"""Which nodes were there when, and so on which writes a network still has to make good.

A value with r copies is promised to survive the sudden death of all but one of its holders, and to have r copies
again ten minutes later. Where all of them may be gone nothing is owed. Who held a copy is not known from
outside: the nodes nearest to the key did, with a few beside them that may have stood in for slow ones.
"""

from math import inf

from attrs import define, field

EXTRA_HOLDERS = 4
"""Nodes beside the nearest ones that may hold a copy in the place of one of them."""

REPAIR_SECONDS = 600.0
"""Seconds after which a value whose holders did not all die has all its copies again."""

RETURN_SECONDS = 30.0
"""Seconds after which a node that came back with its disk is known to the others again."""


@define(eq=False)
class NodeUptime:
    """One node: from when on it was there, and its absences."""

    came_up: float
    downtimes: list[tuple[float, float, bool]] = field(factory=list)
    """From when until when (`inf`: it is away), and whether it came back with what it had held."""

    def was_up(self, since: float, until: float) -> bool:
        """Whether it was there at some time of these."""
        return self.came_up <= until and not any(
            went_down <= since and until <= back for went_down, back, _ in self.downtimes
        )

    def has_lost(self, since: float, until: float) -> bool:
        """Whether what it was given at `since` cannot be had from it at `until`."""
        return any(
            back > since and went_down <= until and not (kept and back + RETURN_SECONDS <= until)
            for went_down, back, kept in self.downtimes
        )


@define(eq=False)
class Availability:
    """Of all nodes that hold values, by their ids. Times are the true ones."""

    _uptimes: dict[int, NodeUptime] = field(factory=dict, init=False)
    _hostile: set[int] = field(factory=set, init=False)

    def came_up(self, node_id: int, now: float, kept: bool = False) -> None:
        """A node has begun; `kept` when it has what it held before."""
        uptime = self._uptimes.setdefault(node_id, NodeUptime(now))
        if uptime.downtimes and uptime.downtimes[-1][1] == inf:
            uptime.downtimes[-1] = uptime.downtimes[-1][0], now, kept

    def went_down(self, node_id: int, now: float) -> None:
        """A node has died, or was frozen or cut off."""
        self._uptimes[node_id].downtimes.append((now, inf, False))

    def turned_hostile(self, node_id: int) -> None:
        """A node is hostile: nothing can be had from it."""
        self._hostile.add(node_id)

    @property
    def all_honest(self) -> bool:
        """Whether nobody lies."""
        return not self._hostile

    def must_keep(self, key: int, copies: int, began: float, ended: float, now: float) -> bool:
        """Whether a put of then, of so many copies, must still be found: whether there was no time at which
        all its copies may have been lost faster than they are made again."""
        while not self._may_be_lost(key, copies, began, ended, min(began + REPAIR_SECONDS, now)):
            began += REPAIR_SECONDS
            ended = max(began, ended)
            if began > now:
                return True
        return False

    def _may_be_lost(self, key: int, copies: int, began: float, ended: float, until: float) -> bool:
        there = [node for node, uptime in self._uptimes.items() if uptime.was_up(began, ended)]
        nearest = sorted(there, key=key.__xor__)[: copies + EXTRA_HOLDERS]
        lost = sum(node in self._hostile or self._uptimes[node].has_lost(began, until) for node in nearest)
        return bool(nearest) and lost >= min(copies, len(nearest))
