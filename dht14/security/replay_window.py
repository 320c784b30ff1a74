"""Which counters of a session have come already (RFC 6479 has the idea, without its ring of words)."""

from attrs import define, field

WINDOW = 1_024
"""Packets by which one may come late."""

_MASK = (1 << WINDOW) - 1


@define(eq=False)
class ReplayWindow:
    """The latest counter and which of the `WINDOW` up to it have come."""

    _latest: int = field(default=-1, init=False)
    _seen: int = field(default=0, init=False)
    """Bit i: whether `_latest` - i has come."""

    def is_new(self, counter: int) -> bool:
        """Whether a packet with this counter may still be taken. Changes nothing: anybody can name one."""
        age = self._latest - counter
        return age < 0 or (age < WINDOW and not self._seen >> age & 1)

    def came(self, counter: int) -> None:
        """A packet with this counter, which was new, has proven to be authentic."""
        ahead = counter - self._latest
        if ahead > 0:
            self._latest = counter
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < WINDOW else 1
        else:
            self._seen |= 1 << -ahead
