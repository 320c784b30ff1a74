"""When a read stops waiting for the contacts that it asked first, and asks others as well.

The soft timeout of a call follows from earlier round trips to its contact, and soft timeouts pass one after
another. What the answers of the read itself say is newer, and one deadline is enough: once somebody has
answered, the others are overdue after a multiple of that time.

Where this process is busy, its own work is what makes the answers late, and further calls would make all
reads slower. So answers are never overdue before the reactor has had several of its present turns to bring
them.
"""

from collections.abc import Callable
from itertools import count

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.parameters import (
    ANSWER_TURNS,
    BUSY_TURN,
    HEDGE_FACTOR,
    HEDGE_MIN,
    HEDGE_UNANSWERED,
    HEDGE_USUAL,
)
from dht14.node.deadline_queue import DeadlineQueue


@define(eq=False)
class Hedging:
    """When the answers of one read are overdue."""

    overdue: Callable[[], None]
    """Called each time that they are."""
    least: float
    """The shortest time in which they may be overdue, in seconds."""
    began: float
    asked_at: float
    """When the last contacts were asked because of an answer."""
    pause: float
    """Seconds from then until answers are overdue."""
    is_answered: bool = False

    def answered(self, now: float) -> None:
        """An answer came. The first one decides when the others are overdue."""
        if not self.is_answered:
            self.is_answered = True
            self.pause = max(HEDGE_FACTOR * (now - self.began), self.least)


@define(eq=False)
class Hedges:
    """The reads of one node that are under way. They share one timer."""

    clock: IReactorTime
    _running: dict[int, Hedging] = field(factory=dict, init=False)
    _ids: "count[int]" = field(factory=count, init=False)
    _deadlines: DeadlineQueue[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = DeadlineQueue(self.clock, self._running, self._look, measures_all_turns=True)

    @property
    def is_busy(self) -> bool:
        """Whether this process had more to do than to wait for answers when it looked last."""
        return self._deadlines.turn >= BUSY_TURN

    def begin(self, usual_rtt: float, overdue: Callable[[], None]) -> int:
        """A read has asked its first contacts, to which the usual round trip is this many seconds. Call
        `overdue` each time that answers are overdue. Returns the id of the read."""
        read_id, now = next(self._ids), self.clock.seconds()
        usual = HEDGE_USUAL * usual_rtt
        least = max(HEDGE_MIN, usual)
        self._running[read_id] = Hedging(overdue, least, now, now, max(HEDGE_UNANSWERED, usual))
        self._deadlines.add(least, read_id, now)
        return read_id

    def answered(self, read_id: int) -> None:
        """A contact has answered."""
        self._running[read_id].answered(self.clock.seconds())

    def asked_more(self, read_id: int) -> None:
        """Contacts were asked because of an answer. They have as much time as those before them."""
        self._running[read_id].asked_at = self.clock.seconds()

    def ended(self, read_id: int) -> None:
        """The read has ended."""
        del self._running[read_id]

    def stop(self) -> None:
        """The node stops: ask nobody in addition any more."""
        self._deadlines.clear()

    def _look(self, read_id: int, now: float) -> None:
        """The earliest time has come at which answers may be overdue. Most reads end before it: so only now
        their deadline is computed."""
        read = self._running[read_id]
        due = read.asked_at + max(read.pause, ANSWER_TURNS * self._deadlines.turn)
        if due <= now:
            read.pause *= 2
            read.asked_at = now
            self._deadlines.add_next(now + read.pause, read_id)
            read.overdue()
        else:
            self._deadlines.add_next(due, read_id)
