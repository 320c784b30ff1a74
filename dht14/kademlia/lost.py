"""Contacts that were dropped because they were silent. They are tried again for a day.

When a network is split, each part drops the contacts in the other. When it is whole again no node would
notice: each has enough contacts. So some of the lost contacts are called now and then. If one answers, more
are called sooner, because they are probably back too.
"""

from attrs import define, field

from dht14.kademlia.contact import Contact

LOST_TTL = 86_400.0
"""Seconds for which a lost contact is tried again."""

MAX_LOST = 256
"""Lost contacts remembered; the one lost longest ago is forgotten first."""

MAX_TRIED = 32
"""The most contacts tried at once. The number doubles from one, as long as one is found each time."""


@define
class LostContact:
    """One contact, and when it was lost."""

    contact: Contact
    since: float


@define
class LostContacts:
    """The contacts that the table has lost, in the order in which they will be tried."""

    _lost: dict[int, LostContact] = field(factory=dict, init=False)
    """By node id, in the order of the tries. Not a `BoundedDict`: the one lost longest ago gives way."""
    _at_once: int = field(default=1, init=False)
    _found: bool = field(default=False, init=False)
    """Whether one of them answered since some were last tried."""

    def __len__(self) -> int:
        return len(self._lost)

    def dropped(self, contact: Contact, now: float) -> None:
        """The contact has left the table."""
        self._lost.pop(contact.node_id, None)
        if len(self._lost) >= MAX_LOST:
            oldest = min(self._lost.values(), key=lambda lost: lost.since)
            del self._lost[oldest.contact.node_id]
        self._lost[contact.node_id] = LostContact(contact, now)

    def confirmed(self, contact: Contact) -> None:
        """A contact has answered."""
        if self._lost.pop(contact.node_id, None) is not None:
            self._found = True

    def take_next(self, now: float) -> list[Contact]:
        """Return the contacts to try now, and put them at the end of the queue."""
        self._at_once = min(2 * self._at_once, MAX_TRIED) if self._found else 1
        self._found = False
        chosen = list(self._lost.values())[: self._at_once]
        for lost in chosen:
            del self._lost[lost.contact.node_id]
            if now - lost.since < LOST_TTL:
                self._lost[lost.contact.node_id] = lost
        return [lost.contact for lost in chosen if now - lost.since < LOST_TTL]
