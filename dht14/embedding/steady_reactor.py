"""A program's reactor with the clock of a node."""

from typing import Any

from dht14.app.reactor_clock import monotonic_clock


class SteadyReactor:
    """The reactor of a program as its node sees it: `seconds` is a clock that nobody sets.

    `dht14.app.reactor_clock` says why a node needs one. The reactor itself stays as it is: it belongs to the
    program around the node, which may rely on the time of day.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.seconds = monotonic_clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
