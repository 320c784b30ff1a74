"""A reactor that is a guest on the running event loop of an asyncio program.

Twisted's own way is to install one asyncio reactor for the whole process, before anything imports
`twisted.internet.reactor`. It belongs to one loop and cannot be started again. A program with a loop for each
test, or with another reactor, could not have a node then. So a node gets a reactor of its own, which is not
installed: whatever reactor a process has, and on whatever loop, they do not meet.
"""

import asyncio

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.posixbase import PosixReactorBase

from dht14.app.reactor_clock import monotonic_clock


class GuestReactor(AsyncioSelectorReactor):
    """Runs from its creation until `end`; the loop goes on after that. Handles no signals."""

    # The thread of the input and output is a global of Twisted: that of the program's own reactor.
    _registerAsIOThread = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises `RuntimeError` where the loop cannot watch sockets."""
        if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
            raise RuntimeError(f"a node cannot run on {type(loop).__name__}: it cannot watch sockets")
        super().__init__(loop)
        self.seconds = monotonic_clock()
        self.startRunning(installSignalHandlers=False)

    def installWaker(self) -> None:
        """Make no pair of sockets: a loop has its own way to be woken from threads."""

    def crash(self) -> None:
        """Note that this reactor has ended. Twisted's would stop the loop."""
        PosixReactorBase.crash(self)

    def end(self) -> None:
        """Close all that is open, stop the threads, forget the timers. A second call does nothing."""
        if not self.running:
            return
        self._stopped = self._startedBefore = True
        self.fireSystemEvent("shutdown")
        for call in self.getDelayedCalls():
            call.cancel()
        if self._timerHandle is not None:
            self._timerHandle.cancel()
            self._timerHandle = None
