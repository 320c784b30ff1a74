"""Contacts that were dropped because they were silent: they are tried again for a day.

Where a network has come apart, each part drops the other one. When it is whole again nobody would know:
everybody has enough contacts. So some of those that were lost are called at times, and where one answers
the next ones are called the sooner, because they will be back too.
"""

from attrs import define, field

from dht14.kademlia.contact import Contact

KEPT = 86_400.0
"""Seconds for which a lost contact is tried again."""

REMEMBERED = 256
"""Lost contacts remembered; the one lost longest ago is forgotten first."""

TRIED_AT_ONCE = 32
"""The most that are tried at once. It is reached by doubling from one, as long as one is found each time."""


@define
class LostContact:
    """One contact, and when it was lost."""

    contact: Contact
    since: float


@define
class LostContacts:
    """Whom the table has lost, in the order in which they are to be tried."""

    _lost: dict[int, LostContact] = field(factory=dict, init=False)
    _at_once: int = field(default=1, init=False)
    _found: bool = field(default=False, init=False)
    """Whether one of them was found since some were last tried."""

    def __len__(self) -> int:
        return len(self._lost)

    def dropped(self, contact: Contact, now: float) -> None:
        """The contact has left the table."""
        self._lost.pop(contact.node_id, None)
        if len(self._lost) >= REMEMBERED:
            oldest = min(self._lost.values(), key=lambda lost: lost.since)
            del self._lost[oldest.contact.node_id]
        self._lost[contact.node_id] = LostContact(contact, now)

    def confirmed(self, contact: Contact) -> None:
        """A contact has answered."""
        if self._lost.pop(contact.node_id, None) is not None:
            self._found = True

    def take_next(self, now: float) -> list[Contact]:
        """Those to be tried now, in turn."""
        self._at_once = min(2 * self._at_once, TRIED_AT_ONCE) if self._found else 1
        self._found = False
        chosen = list(self._lost.values())[: self._at_once]
        for lost in chosen:
            del self._lost[lost.contact.node_id]
            if now - lost.since < KEPT:
                self._lost[lost.contact.node_id] = lost
        return [lost.contact for lost in chosen if now - lost.since < KEPT]
