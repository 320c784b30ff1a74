"""Records that are offered to a database while it is being opened: they wait for it, boundedly many."""

from attrs import define, field

from dht14.database.group_commit import Tell
from dht14.records.record import Record
from dht14.records.store import Outcome, Verdict

MAX_EARLY_OFFERS = 1_000


@define(eq=False)
class EarlyOffers:
    """Record, moment and whom to tell of each offer, in their order."""

    _offers: list[tuple[Record, float, Tell]] = field(factory=list, init=False)

    def add(self, record: Record, now: float, tell: Tell) -> None:
        """Let an offer wait; one too many is refused."""
        if len(self._offers) < MAX_EARLY_OFFERS:
            self._offers.append((record, now, tell))
        else:
            tell(Verdict(Outcome.REFUSED, 0))

    def take(self) -> list[tuple[Record, float, Tell]]:
        """The offers, which wait no longer."""
        offers, self._offers = self._offers, []
        return offers

    def refuse(self) -> None:
        """Refuse all that wait."""
        for _, _, tell in self.take():
            tell(Verdict(Outcome.REFUSED, 0))
