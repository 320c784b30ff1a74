"""One contact of a lookup: how far the lookup has got with it.

The life of a candidate::

    UNASKED --asked--> ASKED --answered--> ANSWERED
                         |--slow--> SLOW --silent--> SILENT      (both may still become ANSWERED)
                         |--failed--> FAILED                     (from SLOW and SILENT too)
                         |--refused--> REFUSED                   (it answered, but declined the request)
                         `--outdated--> OUTDATED                 (the same, and it keeps an older record)
"""

from enum import Enum

from attrs import define

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import DOUBT_LIMIT, MAX_OTHER_ADDRESSES, MAX_SOURCES
from dht14.kademlia.subnet_limits import Subnet


class CandidateState(Enum):
    """How far a lookup has got with one candidate."""

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
    """Answers that led to this contact: 0 for those with which the lookup began."""
    subnet: Subnet | None = None
    """That of the contact's address; None where subnets do not count."""
    state: CandidateState = CandidateState.UNASKED
    sources: "tuple[Candidate, ...]" = ()
    """The first few candidates that named this one; empty if the lookup began with it."""
    other_addresses: tuple[Contact, ...] = ()
    """The same id at other addresses, as other nodes know it: one of them lies or is out of date."""
    votes: bool = True
    """Whether its answer counts towards a quorum. False if it says that it has missed writes."""
    doubts: int = 0
    """Contacts this one named that became slow or worse, minus those that answered."""

    def named_again(self, contact: Contact, source: "Candidate | None") -> None:
        """Another candidate has named this one, as `contact`."""
        sources = self.sources
        if source is not None and 0 < len(sources) < MAX_SOURCES and source not in sources:
            self.sources = (*sources, source)
        if self.contact.address != contact.address and len(self.other_addresses) < MAX_OTHER_ADDRESSES:
            self.other_addresses = (*self.other_addresses, contact)

    @property
    def is_doubtful(self) -> bool:
        """Whether all its sources have named too many contacts that did not answer."""
        for source in self.sources:
            if source.doubts < DOUBT_LIMIT:
                return False
        return bool(self.sources)
