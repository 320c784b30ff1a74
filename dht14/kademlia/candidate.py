"""One contact of a lookup: how far the lookup has got with it.

The life of a candidate::

    UNASKED --due--> ASKED --answered--> ANSWERED
                       |--slow--> SLOW --silent--> SILENT      (both may still become ANSWERED)
                       |--failed--> FAILED                     (from SLOW and SILENT too)
                       |--refused--> REFUSED                   (answered, but does not do what was asked)
                       `--outdated--> OUTDATED                 (the same, and it keeps an older record)
"""

from enum import Enum

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import DOUBTS


class CandidateState(Enum):
    """How far one candidate of a lookup has got."""

    UNASKED = "unasked"
    ASKED = "asked"
    SLOW = "slow"
    SILENT = "silent"
    ANSWERED = "answered"
    REFUSED = "refused"
    OUTDATED = "outdated"
    FAILED = "failed"


@define(eq=False)
class Candidate:
    """One contact of the shortlist."""

    contact: Contact
    hops: int
    """Answers that led to it: 0 for those the lookup began with."""
    state: CandidateState = CandidateState.UNASKED
    sources: "list[Candidate]" = field(factory=list)
    """Who named it, the first few; nobody where the lookup began with it."""
    other_addresses: list[Contact] = field(factory=list)
    """The same id at other addresses, as others have it: one of them lies, or is behind the times."""
    votes: bool = True
    """Whether its word counts: not where it has missed writes, and says so."""
    doubts: int = 0
    """Of the contacts that it named, those that are slow or worse, less those that have answered."""

    @property
    def is_doubtful(self) -> bool:
        """Whether only such have named it whose word has proven worth little."""
        for namer in self.sources:
            if namer.doubts < DOUBTS:
                return False
        return bool(self.sources)
