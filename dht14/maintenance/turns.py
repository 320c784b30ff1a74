"""Turns: what each contact gets, and says, while this node goes through its store to offer records.

One that answers slowly must not hold up the others for long. It loses its turn when others wait for theirs,
and goes on in its next one where it was.
"""

from collections.abc import Callable, Iterator, Mapping

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE
from dht14.maintenance.replicator import Offered
from dht14.records.record import Record
from dht14.records.store import BEGINNING, Page

OFFERS_AT_ONCE = 256
"""Offers to all contacts of a scan together that are under way at the same time."""

OFFERS_TO_ONE_MIN, OFFERS_TO_ONE = 4, 32
"""The bounds of those to one contact: over the internet one takes half a second."""

MAX_VAIN_OFFERS = OFFERS_TO_ONE
"""Offers in a row that a contact leaves without an answer until it is offered nothing more in this scan: so a
dead one costs two timeouts, and a lost datagram little."""


@define(eq=False)
class Turn:
    """One contact in one scan of the store.

    Small and large records count apart: a contact may be out of reach for large ones alone.
    """

    contact: Contact
    mark: bytes = BEGINNING
    """It has been offered all records up to this mark, in this turn or earlier ones."""
    is_unheard: bool = field(default=False, init=False)
    """Whether it left the offers of a record without an answer: it may lack it."""
    is_not_near: bool = field(default=False, init=False)
    """Whether it does not take itself for a holder of a record."""
    is_put_off: bool = field(default=False, init=False)
    """Whether it gets the rest in its next turn."""
    _unanswered: dict[bool, int] = field(factory=dict, init=False)
    """Offers since the last answer, by whether the records are large."""
    _seconds: float = field(default=0.0, init=False)
    """How long offers to it were under way, up to the last page."""
    _began: float = field(default=0.0, init=False)

    def began(self, now: float) -> None:
        """The offers of a page begin."""
        self._began = now

    def ended(self, now: float) -> None:
        """The offers of a page have ended."""
        self._seconds += now - self._began

    def seconds(self, now: float) -> float:
        """Return how long offers to it have been under way; only between `began` and `ended`."""
        return self._seconds + now - self._began

    def may_answer(self, record: Record) -> bool:
        """Whether it is still offered records of this size."""
        return self._unanswered.get(_is_large(record), 0) < MAX_VAIN_OFFERS

    def came(self, record: Record, offered: Offered) -> bool:
        """A record was offered to it. Return whether it has answered."""
        self.is_not_near |= bool(offered.not_near)
        is_large, is_heard = _is_large(record), not offered.unheard
        self._unanswered[is_large] = 0 if is_heard else self._unanswered.get(is_large, 0) + 1
        return is_heard


@define(eq=False)
class Turns:
    """The contacts that are offered records in one scan of the store."""

    _seconds: float
    """How long the turn of one lasts at least, if it needs that."""
    _others_wait: Callable[[], bool]
    """Whether others wait for the end of the turns."""
    _askers: Mapping[int, bytes] | None = None
    """The ids of the only contacts that are served, and the marks after which they are; None: all."""
    _turns: dict[int, Turn] = field(factory=dict, init=False)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self._turns.values())

    @property
    def first_mark(self) -> bytes:
        """The mark after which the scan begins."""
        return min(self._askers.values()) if self._askers else BEGINNING

    @property
    def are_over(self) -> bool:
        """Whether each contact that is served has lost its turn."""
        return self._askers is not None and len(self._askers) == sum(turn.is_put_off for turn in self)

    def of(self, contact: Contact, page: Page) -> Turn | None:
        """Return the turn of a contact; None if it is not offered the records of this page now."""
        node_id, askers = contact.node_id, self._askers
        if askers is not None and node_id not in askers:
            return None
        turn = self._turns.get(node_id)
        if turn is None:
            mark = BEGINNING if askers is None else askers[node_id]
            turn = self._turns[node_id] = Turn(contact, mark)
        has_had_it = page.mark is not None and page.mark <= turn.mark
        return None if has_had_it or turn.is_put_off else turn

    def put_off_if_due(self, turn: Turn, now: float) -> bool:
        """End a turn that is over while others wait. Return whether it has ended."""
        turn.is_put_off = turn.is_put_off or (turn.seconds(now) >= self._seconds and self._others_wait())
        return turn.is_put_off

    def page_ended(self, page: Page) -> None:
        """All offers of this page have ended."""
        for turn in self:
            if not turn.is_put_off and page.mark is not None:
                turn.mark = max(turn.mark, page.mark)


def offers_to_one(contacts: int) -> int:
    """Return how many offers to one contact may be under way, when there are so many contacts."""
    return min(max(OFFERS_AT_ONCE // contacts, OFFERS_TO_ONE_MIN), OFFERS_TO_ONE)


def _is_large(record: Record) -> bool:
    return len(record.value) > MAX_INLINE_VALUE
