"""How long each address takes to answer, and when to stop counting on it (RFC 6298, section 2)."""

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import (
    SILENT_TIMEOUT_MAX,
    SILENT_TIMEOUT_MIN,
    SOFT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_UNKNOWN,
)

REMEMBERED = 8192
"""Addresses remembered; the one first heard of is forgotten first."""


@define
class RoundTrip:
    """The estimate of one address, in seconds."""

    srtt: float
    rttvar: float
    overdue: bool = False
    """Whether a call to it passed its soft timeout and nothing has come from there since."""


@define
class RoundTrips:
    """The estimates of all addresses."""

    _known: dict[Address, RoundTrip] = field(factory=dict, init=False)

    def timeouts(self, address: Address) -> tuple[float, float]:
        """After how many seconds a call is slow, and after how many the contact is taken for dead."""
        known = self._known.get(address)
        soft = SOFT_TIMEOUT_UNKNOWN
        if known is not None and known.srtt:
            soft = min(max(known.srtt + 4 * known.rttvar, SOFT_TIMEOUT_MIN), SOFT_TIMEOUT_MAX)
        return soft, max(soft, min(max(4 * soft, SILENT_TIMEOUT_MIN), SILENT_TIMEOUT_MAX))

    def is_overdue(self, address: Address) -> bool:
        """Whether the address owes us an answer and has been quiet since."""
        known = self._known.get(address)
        return known is not None and known.overdue

    def answered(self, address: Address, rtt: float) -> None:
        """A reply came `rtt` seconds after its call was first sent.

        After a resend it cannot be told which of the two was answered (Karn). It is counted from the
        first: an estimate too long costs little, one that never learns of a slower path costs a resend
        and a stand-in on every call.
        """
        known = self._known.get(address)
        if known is None or not known.srtt:
            self._remember(address, RoundTrip(rtt, rtt / 2))
            return
        known.rttvar += (abs(known.srtt - rtt) - known.rttvar) / 4
        known.srtt += (rtt - known.srtt) / 8
        known.overdue = False

    def overdue(self, address: Address) -> None:
        """A call to the address passed its soft timeout."""
        known = self._known.get(address)
        if known is None:
            self._remember(address, RoundTrip(0.0, 0.0, overdue=True))
        else:
            known.overdue = True

    def _remember(self, address: Address, estimate: RoundTrip) -> None:
        if len(self._known) >= REMEMBERED and address not in self._known:
            del self._known[next(iter(self._known))]
        self._known[address] = estimate
