import time

from twisted.internet.base import ReactorBase
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.reactor_clock import monotonic_clock, set_reactor_clock, uptime


class IdleReactor(ReactorBase):
    """Twisted's own timers, without a loop and without sockets."""

    def installWaker(self) -> None:
        """Nothing waits in a system call."""


class SteadyClockTests(SynchronousTestCase):
    """The clock of a process, on a host whose clocks the test moves."""

    def setUp(self) -> None:
        self.uptime, self.wall = 1_000.0, 1_700_000_000.0
        self.seconds = monotonic_clock(lambda: self.wall, lambda: self.uptime)

    def test_begins_as_the_time_of_day(self) -> None:
        """It reads as the wall clock at the start of the process, and counts from there."""
        self.assertEqual(self.seconds(), self.wall)
        self.uptime += 60
        self.assertEqual(self.seconds(), self.wall + 60)

    def test_nobody_sets_it(self) -> None:
        """It goes on however the wall clock is set."""
        began = self.seconds()
        for step in (-3600, 3600, -90_000, 90_000, -1e9):
            self.wall += step
            self.uptime += 1
        self.assertEqual(self.seconds(), began + 5)

    def test_timers(self) -> None:
        """Timers of a reactor, also earlier ones, fire when their seconds have passed, and not before."""
        reactor, fired = IdleReactor(), list[str]()
        set_reactor_clock(reactor, lambda: self.wall)
        reactor.callLater(10, fired.append, "set before")
        set_reactor_clock(reactor, self.seconds)
        reactor.callLater(10, fired.append, "set after").delay(10)
        looping = LoopingCall(fired.append, "looping")
        looping.clock = reactor
        looping.start(30, now=False)
        seen = []
        for step in (-3600, 3600, -90_000, 90_000):
            self.wall += step
            self.uptime += 10
            reactor.runUntilCurrent()
            seen.append(list(fired))
            fired.clear()
        self.assertEqual(seen, [["set before"], ["set after"], ["looping"], []])
        looping.stop()

    def test_real(self) -> None:
        """It rests on the system clock that counts the sleep of the host, if there is one."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        before, between, after = time.clock_gettime(clock), uptime(), time.clock_gettime(clock)
        self.assertTrue(before <= between <= after)
