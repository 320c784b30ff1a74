"""Virtual time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from dht14.sim.clock import HeapClock, Process

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "cancel", "reset", "delay", "run"]), st.integers(0, 30), st.integers(0, 9)
    ),
    max_size=60,
)


class HeapClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = HeapClock()
        self.seen: list[object] = []

    def note(self, what: object) -> None:
        self.seen.append((self.clock.seconds(), what))

    def test_interfaces(self) -> None:
        """Clock and calls provide the interfaces of Twisted's own."""
        verifyObject(IReactorTime, self.clock)
        verifyObject(IDelayedCall, self.clock.callLater(1, self.note, "a"))

    def test_order(self) -> None:
        """Events run by time, those of the same instant in the order of their creation, datagrams among
        them."""
        self.clock.callLater(2, self.note, "later")
        self.clock.callLater(1, self.note, "first")
        self.clock.post(1, self.note, "second")
        self.clock.callLater(1, self.note, what="third")
        self.clock.run_until(2)
        self.assertEqual(self.seen, [(1, "first"), (1, "second"), (1, "third"), (2, "later")])
        self.assertEqual(self.clock.events, 4)

    def test_stops_at_the_given_time(self) -> None:
        """`run_until` leaves later events, ends exactly at its time, and never turns time back."""
        self.clock.callLater(1.5, self.note, "later")
        self.clock.run_until(1)
        self.assertEqual((self.seen, self.clock.seconds()), ([], 1))
        self.clock.run_until(0.5)
        self.assertEqual(self.clock.seconds(), 1)
        self.clock.run_until(1.5)
        self.assertEqual(self.seen, [(1.5, "later")])

    def test_stops_when_true(self) -> None:
        """`run_until_true` stops right after the event that made the condition true."""
        for number in range(5):
            self.clock.callLater(number, self.note, number)
        self.assertTrue(self.clock.run_until_true(lambda: len(self.seen) == 3, deadline=10))
        self.assertEqual((len(self.seen), self.clock.seconds()), (3, 2))
        self.assertFalse(self.clock.run_until_true(lambda: len(self.seen) == 9, deadline=10))
        self.assertEqual(self.clock.seconds(), 10)

    def test_cancel(self) -> None:
        """A cancelled call never runs, and cannot be changed."""
        call = self.clock.callLater(1, self.note, "never")
        self.assertTrue(call.active())
        call.cancel()
        self.assertFalse(call.active())
        self.clock.run_until(2)
        self.assertEqual((self.seen, self.clock.events), ([], 0))
        self.assertRaises(AlreadyCancelled, call.cancel)
        self.assertRaises(AlreadyCancelled, call.reset, 1)

    def test_called(self) -> None:
        """A call that has run is inactive, also while it runs, and cannot be changed."""
        call = self.clock.callLater(1, lambda: self.note(call.active()))
        self.clock.run_until(1)
        self.assertEqual(self.seen, [(1, False)])
        self.assertRaises(AlreadyCalled, call.cancel)
        self.assertRaises(AlreadyCalled, call.delay, 1)

    def test_move(self) -> None:
        """`reset` counts from now, `delay` from the time that was set; neither goes back in time."""
        early, late = (self.clock.callLater(5, self.note, name) for name in ("early", "late"))
        self.clock.run_until(2)
        early.reset(1)
        late.delay(1)
        self.assertEqual((early.getTime(), late.getTime()), (3, 6))
        late.delay(-100)
        self.assertEqual(late.getTime(), 2)
        self.clock.run_until(9)
        self.assertEqual(self.seen, [(2, "late"), (3, "early")])

    def test_delayed_calls(self) -> None:
        """Only waiting calls are listed, soonest first."""
        late, moved, gone = (self.clock.callLater(when, self.note, when) for when in (3, 9, 1))
        gone.cancel()
        moved.reset(2)
        self.clock.post(1, self.note, "a datagram")
        self.assertEqual(self.clock.getDelayedCalls(), [moved, late])

    def test_refuses_the_past(self) -> None:
        """A negative or missing delay is a bug of the caller."""
        self.assertRaises(ValueError, self.clock.callLater, -0.1, self.note, "")
        self.assertRaises(ValueError, self.clock.callLater, float("nan"), self.note, "")

    def test_errors_are_loud(self) -> None:
        """An exception of a call leaves the clock, which can continue afterwards."""
        self.clock.callLater(1, {}.__getitem__, "missing")
        self.clock.callLater(2, self.note, "next")
        self.assertRaises(KeyError, self.clock.run_until, 3)
        self.clock.run_until(3)
        self.assertEqual(self.seen, [(2, "next")])

    def test_standstill(self) -> None:
        """An endless loop at one instant is detected; many events at one instant are not taken for one."""
        self.clock.STANDSTILL = 100
        for number in range(100):
            self.clock.callLater(1, self.note, number)
        self.clock.run_until(1)
        self.assertEqual(len(self.seen), 100)

        def again() -> None:
            self.clock.callLater(0, again)

        again()
        self.assertRaises(RuntimeError, self.clock.run_until, 2)

    def test_bounded(self) -> None:
        """A timer that is moved again and again does not fill the heap."""
        call = self.clock.callLater(1, self.note, "at last")
        for _ in range(20 * HeapClock.COMPACT_ABOVE):
            call.reset(1)
        self.assertLess(len(self.clock._heap), 3 * HeapClock.COMPACT_ABOVE)
        self.clock.run_until(1)
        self.assertEqual(self.seen, [(1, "at last")])

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(STEPS)
    def test_as_the_model(self, steps: list[tuple[str, int, int]]) -> None:
        """Any sequence of calls, cancels and moves runs as with a plain sorted list."""
        clock, seen = HeapClock(), list[int]()
        clock.COMPACT_ABOVE = 2
        calls: list[IDelayedCall] = []
        model: dict[int, tuple[float, int]] = {}
        expected: list[int] = []
        for step, (verb, which, seconds) in enumerate(steps):
            if verb == "call":
                calls.append(clock.callLater(seconds, seen.append, len(calls)))
                model[len(calls) - 1] = (clock.seconds() + seconds, step)
            elif verb == "run":
                now = clock.seconds() + seconds
                local_time = sorted((when, number) for number, when in model.items() if when[0] <= now)
                expected += [number for _, number in local_time if model.pop(number)]
                clock.run_until(now)
            elif which in model:
                if verb == "cancel":
                    calls[which].cancel()
                    del model[which]
                elif verb == "reset":
                    calls[which].reset(seconds)
                    model[which] = (clock.seconds() + seconds, step)
                else:
                    calls[which].delay(seconds)
                    model[which] = (model[which][0] + seconds, step)
            self.assertEqual(seen, expected)
        left = sorted((when, number) for number, when in model.items())
        self.assertEqual(clock.getDelayedCalls(), [calls[number] for _, number in left])


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = HeapClock()
        self.process = Process(self.clock)
        self.seen: list[object] = []

    def note(self, what: object) -> None:
        self.seen.append((self.process.seconds(), what))

    def test_runs(self) -> None:
        """A process has the time and the timers of its clock; it lists only its own."""
        verifyObject(IReactorTime, self.process)
        self.clock.callLater(1, self.note, "another's")
        own = self.process.callLater(1, self.note, "own")
        self.assertEqual(self.process.getDelayedCalls(), [own])
        self.clock.run_until(1)
        self.assertEqual(self.seen, [(1, "another's"), (1, "own")])

    def test_skew(self) -> None:
        """A wrong clock shows another time, now and for timers; durations are the same."""
        process = Process(self.clock, skew=-100.0)
        call = process.callLater(5, lambda: self.seen.append(process.seconds()))
        self.assertEqual((process.seconds(), call.getTime()), (-100, -95))
        self.clock.run_until(5)
        self.assertEqual(self.seen, [-95])

    def test_wall_set(self) -> None:
        """The wall clock of a process can be set; its steady clock and its timers are not changed."""
        process = Process(self.clock, skew=-100.0)
        call = process.callLater(5, self.note, "own")
        process.skew += 3600
        self.assertEqual((process.wall(), process.seconds(), call.getTime()), (3500, -100, -95))
        self.clock.run_until(5)
        self.assertEqual((process.wall(), process.seconds(), self.seen), (3505, -95, [(5, "own")]))

    def test_killed(self) -> None:
        """No call of a dead process runs; all others continue."""
        self.process.callLater(1, self.note, "own")
        self.clock.callLater(1, self.note, "another's")
        self.process.kill()
        self.process.callLater(1, self.note, "too late")
        self.process.thaw()
        self.clock.run_until(2)
        self.assertEqual(self.seen, [(1, "another's")])

    def test_frozen(self) -> None:
        """Missed calls of a frozen process run when it thaws, in order, unless cancelled by then."""
        first = self.process.callLater(1, lambda: cancelled.cancel())
        moved = self.process.callLater(2, self.note, "moved")
        cancelled = self.process.callLater(3, self.note, "cancelled")
        self.process.callLater(4, self.note, "kept")
        self.process.callLater(9, self.note, "not due yet")
        self.process.freeze()
        self.clock.run_until(5)
        self.assertEqual((self.seen, first.active()), ([], True))
        moved.reset(2)
        self.process.thaw()
        self.clock.run_until(10)
        self.assertEqual(self.seen, [(5, "kept"), (7, "moved"), (9, "not due yet")])

    def test_thawed_at_the_very_moment(self) -> None:
        """A call whose time comes while its process is frozen is not lost when it thaws in that instant."""
        self.process.callLater(1, self.note, "kept")
        self.process.freeze()
        self.clock.run_until(1)
        self.process.thaw()
        self.clock.run_until(1)
        self.assertEqual(self.seen, [(1, "kept")])
