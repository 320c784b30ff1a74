"""Which nodes were there when, and so on which writes a network still has to make good.

A value with r copies is promised to survive the sudden death of all but one of its holders, and to have r copies
again ten minutes later. Where all of them may be gone nothing is owed. Who held a copy is not known from
outside: the nodes nearest to the key did, with a few beside them that may have stood in for slow ones.
"""

from math import inf

from attrs import define, field

STAND_INS = 4
"""Nodes beside the nearest ones that may hold a copy in the place of one of them."""

REPAIRED = 600.0
"""Seconds after which a value whose holders did not all die has all its copies again."""

RETURN = 30.0
"""Seconds after which a node that came back with its disk is known to the others again."""


@define(eq=False)
class Life:
    """One node: from when on it was there, and its absences."""

    rose: float
    absences: list[tuple[float, float, bool]] = field(factory=list)
    """From when until when (`inf`: it is away), and whether it came back with what it had held."""

    def is_there(self, since: float, until: float) -> bool:
        """Whether it was there at some time of these."""
        return self.rose <= until and not any(
            fell <= since and until <= back for fell, back, _ in self.absences
        )

    def has_lost(self, since: float, until: float) -> bool:
        """Whether what it was given at `since` cannot be had from it at `until`."""
        return any(
            back > since and fell <= until and not (kept and back + RETURN <= until)
            for fell, back, kept in self.absences
        )


@define(eq=False)
class Lives:
    """Of all nodes that hold values, by their ids. Times are the true ones."""

    _lives: dict[int, Life] = field(factory=dict, init=False)
    _liars: set[int] = field(factory=set, init=False)

    def rose(self, node_id: int, now: float, kept: bool = False) -> None:
        """A node has begun; `kept` when it has what it held before."""
        life = self._lives.setdefault(node_id, Life(now))
        if life.absences and life.absences[-1][1] == inf:
            life.absences[-1] = life.absences[-1][0], now, kept

    def fell(self, node_id: int, now: float) -> None:
        """A node has died, or was frozen or cut off."""
        self._lives[node_id].absences.append((now, inf, False))

    def lies(self, node_id: int) -> None:
        """A node is hostile: nothing can be had from it."""
        self._liars.add(node_id)

    @property
    def honest(self) -> bool:
        """Whether nobody lies."""
        return not self._liars

    def owes(self, key: int, copies: int, began: float, ended: float, now: float) -> bool:
        """Whether a put of then, of so many copies, must still be found: whether there was no time at which
        all its copies may have been lost faster than they are made again."""
        while not self._may_be_lost(key, copies, began, ended, min(began + REPAIRED, now)):
            began += REPAIRED
            ended = max(began, ended)
            if began > now:
                return True
        return False

    def _may_be_lost(self, key: int, copies: int, began: float, ended: float, until: float) -> bool:
        there = [node for node, life in self._lives.items() if life.is_there(began, ended)]
        nearest = sorted(there, key=key.__xor__)[: copies + STAND_INS]
        lost = sum(node in self._liars or self._lives[node].has_lost(began, until) for node in nearest)
        return bool(nearest) and lost >= min(copies, len(nearest))
