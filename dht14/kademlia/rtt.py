"""Estimates how long each address takes to answer, and when to give up on it (RFC 6298, section 2)."""

from enum import Enum
from typing import NamedTuple

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import (
    SILENT_TIMEOUT_MAX,
    SILENT_TIMEOUT_MIN,
    SOFT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_SLACK,
    SOFT_TIMEOUT_UNKNOWN,
)

MAX_ADDRESSES = 8192
"""Addresses remembered; the one first heard of is forgotten first."""

UNRESPONSIVE_SPACING = 0.05
"""Seconds between two calls to an address whose last call is overdue. If its host has died, the kernel keeps
what is sent to it for seconds, in a buffer shared by all addresses: a burst of calls would silence this
node."""


class PeerState(Enum):
    """The outcome of the last call to an address."""

    RESPONSIVE = "responsive"
    SLOW = "slow"
    """It passed its soft timeout, and nothing has come from the address since."""
    SILENT = "silent"
    """The address was presumed dead, and nothing has come from it since."""


class CallTimeouts(NamedTuple):
    """What to expect of a call about to be made, in seconds from its sending."""

    slow_after: float
    """When to send the request again and rely on another contact."""
    silent_after: float
    """When to presume that the contact is dead."""
    state: PeerState
    """If it is not `RESPONSIVE`, an earlier call is overdue: then do not rely on this one from the start."""


@define
class RttEstimator:
    """The estimate of one address, in seconds; zeros before its first answer."""

    srtt: float = 0.0
    rttvar: float = 0.0
    lowest: float = 0.0
    """The shortest recent round trip. It rises slowly if the path has become longer. Delays of other round
    trips by lost datagrams are no reason to wait longer for the next one."""
    state: PeerState = PeerState.RESPONSIVE
    next_call_at: float = 0.0
    """When the address may be called again while it is not responsive."""


@define
class RttEstimators:
    """The estimates of all addresses."""

    _known: BoundedDict[Address, RttEstimator] = field(factory=lambda: BoundedDict(MAX_ADDRESSES), init=False)

    def call_timeouts(self, address: Address) -> CallTimeouts:
        """Return what to expect of a call to this address.

        A silent address is given a single soft timeout: long enough to be heard when it is back, too short to
        delay anything.
        """
        known = self._known.get(address)
        if known is None:
            return _UNKNOWN
        soft = known.srtt + 4 * known.rttvar if known.srtt else SOFT_TIMEOUT_UNKNOWN
        # Comparisons instead of min() and max(): this runs for every call.
        if known.srtt and soft > (highest := 2 * known.lowest + SOFT_TIMEOUT_SLACK):
            soft = highest
        if soft < SOFT_TIMEOUT_MIN:
            soft = SOFT_TIMEOUT_MIN
        elif soft > SOFT_TIMEOUT_MAX:
            soft = SOFT_TIMEOUT_MAX
        if known.state is PeerState.RESPONSIVE:
            return CallTimeouts(soft, _silent_after(soft), PeerState.RESPONSIVE)
        return CallTimeouts(
            soft, soft if known.state is PeerState.SILENT else _silent_after(soft), known.state
        )

    def may_call(self, address: Address, now: float) -> bool:
        """Whether an unresponsive address may be called again now; True counts as a call."""
        known = self._estimator(address)
        if now < known.next_call_at:
            return False
        known.next_call_at = now + UNRESPONSIVE_SPACING
        return True

    def answered(self, address: Address, rtt: float) -> None:
        """A reply came `rtt` seconds after its call was first sent.

        After a resend it is unknown which of the two was answered (Karn); the first is assumed. An estimate
        that is too long costs little. One that never learns of a slower path costs a resend and a stand-in on
        every call.
        """
        known = self._estimator(address)
        known.state = PeerState.RESPONSIVE
        if not known.srtt:
            known.srtt, known.rttvar, known.lowest = rtt, rtt / 2, rtt
            return
        known.lowest = rtt if rtt < known.lowest else known.lowest + (rtt - known.lowest) / 8
        known.rttvar += (abs(known.srtt - rtt) - known.rttvar) / 4
        known.srtt += (rtt - known.srtt) / 8

    def was_slow(self, address: Address) -> None:
        """A call to the address passed its soft timeout."""
        known = self._estimator(address)
        if known.state is PeerState.RESPONSIVE:
            known.state = PeerState.SLOW

    def fell_silent(self, address: Address) -> None:
        """A call to the address was given up."""
        self._estimator(address).state = PeerState.SILENT

    def _estimator(self, address: Address) -> RttEstimator:
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = RttEstimator()
        return known


def _silent_after(soft: float) -> float:
    silent = 4 * soft
    if silent < SILENT_TIMEOUT_MIN:
        return SILENT_TIMEOUT_MIN
    if silent > SILENT_TIMEOUT_MAX:
        # Never before the soft timeout of the resend has passed.
        return max(SILENT_TIMEOUT_MAX, 2 * soft)
    return silent


_UNKNOWN = CallTimeouts(SOFT_TIMEOUT_UNKNOWN, _silent_after(SOFT_TIMEOUT_UNKNOWN), PeerState.RESPONSIVE)
