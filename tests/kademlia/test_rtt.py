from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import (
    HARD_TIMEOUT,
    SILENT_TIMEOUT_MAX,
    SILENT_TIMEOUT_MIN,
    SOFT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_SLACK,
    SOFT_TIMEOUT_UNKNOWN,
)
from dht14.kademlia.rtt import MAX_ADDRESSES, UNRESPONSIVE_SPACING, PeerState, RttEstimators

HERE, THERE = ("192.0.2.1", 8000), ("192.0.2.2", 8000)


class RoundTripsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.trips = RttEstimators()

    def slow_after(self) -> float:
        return self.trips.call_timeouts(HERE).slow_after

    def test_unknown(self) -> None:
        """An unknown address has the default timeouts."""
        call_timeouts = self.trips.call_timeouts(HERE)
        self.assertEqual(call_timeouts.slow_after, SOFT_TIMEOUT_UNKNOWN)
        self.assertEqual(call_timeouts.silent_after, 1.0)
        self.assertIs(call_timeouts.state, PeerState.RESPONSIVE)

    def test_estimate(self) -> None:
        """The soft timeout is srtt + 4 rttvar as in RFC 6298, section 2, where that is below its bound."""
        self.trips.answered(HERE, 0.1)
        for _ in range(3):
            self.trips.answered(HERE, 0.1)
        rttvar = 0.75**3 * 0.05
        self.assertAlmostEqual(self.slow_after(), 0.1 + 4 * rttvar)

    def test_lost(self) -> None:
        """Lost datagrams do not lengthen the soft timeout beyond twice the shortest round trip and a
        little."""
        for rtt in (0.1, 1.1, 0.1, 1.1, 0.1):
            self.trips.answered(HERE, rtt)
        self.assertAlmostEqual(self.slow_after(), 2 * 0.1 + SOFT_TIMEOUT_SLACK)

    def test_longer_path(self) -> None:
        """A path that has become longer is learned of."""
        self.trips.answered(HERE, 0.01)
        for _ in range(40):
            self.trips.answered(HERE, 0.5)
        self.assertGreater(self.slow_after(), 0.5)

    def test_by_address(self) -> None:
        """What is known of one address says nothing about another."""
        self.trips.answered(THERE, 0.001)
        self.assertEqual(self.slow_after(), SOFT_TIMEOUT_UNKNOWN)

    def test_settles(self) -> None:
        """A steady path is expected to stay so, down to the least soft timeout."""
        for _ in range(100):
            self.trips.answered(HERE, 0.0001)
        self.assertEqual(self.slow_after(), SOFT_TIMEOUT_MIN)

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.floats(0, HARD_TIMEOUT), max_size=30))
    def test_bounds(self, rtts: list[float]) -> None:
        """Whatever was seen, the timeouts keep to their bounds, and the resend has time to be answered."""
        trips = RttEstimators()
        for rtt in rtts:
            trips.answered(HERE, rtt)
        call_timeouts = trips.call_timeouts(HERE)
        self.assertTrue(SOFT_TIMEOUT_MIN <= call_timeouts.slow_after <= SOFT_TIMEOUT_MAX)
        self.assertGreaterEqual(call_timeouts.silent_after, 2 * call_timeouts.slow_after)
        self.assertTrue(
            SILENT_TIMEOUT_MIN <= call_timeouts.silent_after <= max(SILENT_TIMEOUT_MAX, 2 * SOFT_TIMEOUT_MAX)
        )

    def test_instant_answer(self) -> None:
        """An answer in no time at all, as virtual clocks have them, breaks nothing."""
        self.trips.answered(HERE, 0.0)
        self.assertEqual(self.slow_after(), SOFT_TIMEOUT_UNKNOWN)

    def test_behind(self) -> None:
        """An address that passed a soft timeout is unresponsive until it answers; its timeouts stay."""
        self.trips.was_slow(HERE)
        self.assertIs(self.trips.call_timeouts(HERE).state, PeerState.SLOW)
        self.assertEqual(self.trips.call_timeouts(HERE).silent_after, 1.0)
        self.trips.answered(HERE, 0.1)
        self.assertIs(self.trips.call_timeouts(HERE).state, PeerState.RESPONSIVE)

    def test_debtor(self) -> None:
        """An unresponsive address is called again after an interval, whichever others are called
        meanwhile."""
        self.assertEqual(
            [
                self.trips.may_call(HERE, now)
                for now in (5.0, 5.0 + UNRESPONSIVE_SPACING / 2, 5.0 + UNRESPONSIVE_SPACING)
            ],
            [True, False, True],
        )
        self.assertTrue(self.trips.may_call(THERE, 5.0))

    def test_silent(self) -> None:
        """A silent address is waited for no longer than one soft timeout, until it answers."""
        self.trips.answered(HERE, 0.1)
        self.trips.fell_silent(HERE)
        call_timeouts = self.trips.call_timeouts(HERE)
        self.assertIs(call_timeouts.state, PeerState.SILENT)
        self.assertEqual(call_timeouts.silent_after, call_timeouts.slow_after)
        self.trips.was_slow(HERE)
        self.assertEqual(self.trips.call_timeouts(HERE), call_timeouts)
        self.trips.answered(HERE, 0.1)
        self.assertIs(self.trips.call_timeouts(HERE).state, PeerState.RESPONSIVE)

    def test_bounded(self) -> None:
        """So many addresses are remembered; the one first heard of is forgotten first."""
        for number in range(MAX_ADDRESSES + 1):
            self.trips.fell_silent((f"10.0.{number >> 8}.{number & 255}", 8000))
        self.assertIs(self.trips.call_timeouts(("10.0.0.0", 8000)).state, PeerState.RESPONSIVE)
        self.assertIs(self.trips.call_timeouts(("10.0.0.1", 8000)).state, PeerState.SILENT)

    def test_questions_cost_no_memory(self) -> None:
        """To ask about an address is not to remember it: contacts can be made up without end."""
        self.trips.was_slow(HERE)
        for number in range(2 * MAX_ADDRESSES):
            self.trips.call_timeouts((f"10.0.{number >> 8}.{number & 255}", 8000))
        self.assertIs(self.trips.call_timeouts(HERE).state, PeerState.SLOW)
