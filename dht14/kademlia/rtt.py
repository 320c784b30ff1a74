"""How long each address takes to answer, and when to stop counting on it (RFC 6298, section 2)."""

from enum import Enum
from typing import NamedTuple

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.kademlia.parameters import (
    SILENT_TIMEOUT_MAX,
    SILENT_TIMEOUT_MIN,
    SOFT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_SLACK,
    SOFT_TIMEOUT_UNKNOWN,
)

REMEMBERED = 8192
"""Addresses remembered; the one first heard of is forgotten first."""


UNRESPONSIVE_SPACING = 0.05
"""Seconds between two calls to an address that owes an answer. Where its host has died, the kernel keeps what is sent
to it for seconds, in the buffer that is there for all: a burst of calls would silence this node."""


class CallTimeouts(NamedTuple):
    """What to expect of a call about to be made, in seconds from its sending."""

    slow_after: float
    """When to send once more and count on somebody else."""
    silent_after: float
    """When to take the contact for dead."""
    is_unresponsive: bool
    """Whether an earlier call is overdue: then nobody should count on this one from the start."""


class PeerState(Enum):
    """What the last call to an address came to."""

    RESPONSIVE = "well"
    SLOW = "behind"
    """It passed its soft timeout, and nothing has come from there since."""
    SILENT = "silent"
    """It was taken for dead, and nothing has come from there since."""


@define
class RttEstimator:
    """The estimate of one address, in seconds; zeros before its first answer."""

    srtt: float = 0.0
    rttvar: float = 0.0
    lowest: float = 0.0
    """The shortest round trip of late: it rises slowly where the path has become longer. What a lost datagram adds to
    the others is no reason to wait longer for the next one."""
    state: PeerState = PeerState.RESPONSIVE
    next_call_at: float = 0.0
    """When to call it again while it is not well."""


@define
class RttEstimators:
    """The estimates of all addresses."""

    _known: dict[Address, RttEstimator] = field(factory=dict, init=False)

    def call_timeouts(self, address: Address) -> CallTimeouts:
        """What to expect of a call to this address.

        One that is silent already is given a single soft timeout: long enough to be heard when it is back,
        too short to hold anybody up.
        """
        known = self._known.get(address)
        if known is None:
            return _UNKNOWN
        soft = known.srtt + 4 * known.rttvar if known.srtt else SOFT_TIMEOUT_UNKNOWN
        # Comparisons instead of min() and max(): this is done for every call.
        if known.srtt and soft > (highest := 2 * known.lowest + SOFT_TIMEOUT_SLACK):
            soft = highest
        if soft < SOFT_TIMEOUT_MIN:
            soft = SOFT_TIMEOUT_MIN
        elif soft > SOFT_TIMEOUT_MAX:
            soft = SOFT_TIMEOUT_MAX
        if known.state is PeerState.RESPONSIVE:
            return CallTimeouts(soft, _silent_after(soft), False)
        return CallTimeouts(soft, soft if known.state is PeerState.SILENT else _silent_after(soft), True)

    def may_call(self, address: Address, now: float) -> bool:
        """Whether one that owes an answer is to be called again; saying so counts as a call."""
        known = self._of(address)
        if now < known.next_call_at:
            return False
        known.next_call_at = now + UNRESPONSIVE_SPACING
        return True

    def answered(self, address: Address, rtt: float) -> None:
        """A reply came `rtt` seconds after its call was first sent.

        After a resend it cannot be told which of the two was answered (Karn). It is counted from the
        first: an estimate too long costs little, one that never learns of a slower path costs a resend
        and a stand-in on every call.
        """
        known = self._of(address)
        known.state = PeerState.RESPONSIVE
        if not known.srtt:
            known.srtt, known.rttvar, known.lowest = rtt, rtt / 2, rtt
            return
        known.lowest = rtt if rtt < known.lowest else known.lowest + (rtt - known.lowest) / 8
        known.rttvar += (abs(known.srtt - rtt) - known.rttvar) / 4
        known.srtt += (rtt - known.srtt) / 8

    def was_slow(self, address: Address) -> None:
        """A call to the address passed its soft timeout."""
        known = self._of(address)
        if known.state is PeerState.RESPONSIVE:
            known.state = PeerState.SLOW

    def fell_silent(self, address: Address) -> None:
        """A call to the address was given up."""
        self._of(address).state = PeerState.SILENT

    def _of(self, address: Address) -> RttEstimator:
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            known = self._known[address] = RttEstimator()
        return known


def _silent_after(soft: float) -> float:
    silent = 4 * soft
    if silent < SILENT_TIMEOUT_MIN:
        return SILENT_TIMEOUT_MIN
    if silent > SILENT_TIMEOUT_MAX:
        # Never before the resend has had its own soft timeout.
        return max(SILENT_TIMEOUT_MAX, 2 * soft)
    return silent


_UNKNOWN = CallTimeouts(SOFT_TIMEOUT_UNKNOWN, _silent_after(SOFT_TIMEOUT_UNKNOWN), is_unresponsive=False)
