from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.session.replay_window import WINDOW, ReplayWindow


class ReplayWindowTests(SynchronousTestCase):
    """Each counter is taken once."""

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 3 * WINDOW) | st.integers(2**64 - 2 * WINDOW, 2**64 - 1)))
    def test_like_a_set(self, counters: list[int]) -> None:
        """A counter is new if it has not come and is less than a window behind the latest."""
        window, authenticated = ReplayWindow(), set[int]()
        for counter in counters:
            expected = counter not in authenticated and max(authenticated, default=-1) - counter < WINDOW
            self.assertEqual(window.is_new(counter), expected)
            if expected:
                window.authenticated(counter)
                authenticated.add(counter)

    def test_asking_changes_nothing(self) -> None:
        """A packet that is not authenticated changes nothing."""
        window = ReplayWindow()
        self.assertTrue(window.is_new(2**64 - 1))
        window.authenticated(0)
        self.assertTrue(window.is_new(1) and window.is_new(WINDOW + 1))
        self.assertFalse(window.is_new(0))
