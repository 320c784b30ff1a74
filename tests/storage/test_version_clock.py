from twisted.trial.unittest import SynchronousTestCase

from dht14.storage.record import CLOCK_TOLERANCE, version_at
from dht14.storage.version_clock import VersionClock

NOW = 1_700_000_000.0


class VersionClockTests(SynchronousTestCase):
    """Versions, made and judged by the time of day."""

    def setUp(self) -> None:
        self.now = NOW
        self.versions = VersionClock(lambda: self.now)

    def test_next(self) -> None:
        """A new version is of now, and above all that was seen."""
        self.assertEqual(self.versions.next(0), version_at(NOW))
        self.assertEqual(self.versions.next(version_at(NOW + 60)), version_at(NOW + 60) + 1)

    def test_believed(self) -> None:
        """A version too far ahead of the clock is not believed; an owner counts as it likes."""
        limit = version_at(NOW + CLOCK_TOLERANCE)
        self.assertEqual(self.versions.newest_believable(), limit)
        self.assertTrue(self.versions.believes(limit, owned=False))
        self.assertFalse(self.versions.believes(limit + 1, owned=False))
        self.assertTrue(self.versions.believes(limit + 1, owned=True))

    def test_surpassed(self) -> None:
        """What a writer goes above stays believable for a holder whose clock is half an hour behind."""
        above = self.versions.newest_to_surpass() + 1
        self.now -= 1800
        self.assertTrue(self.versions.believes(above, owned=False))

    def test_clock_set(self) -> None:
        """The clock is read every time: set right, it judges right at once."""
        self.now = 0.0
        self.assertFalse(self.versions.believes(version_at(NOW), owned=False))
        self.now = NOW
        self.assertTrue(self.versions.believes(version_at(NOW), owned=False))
