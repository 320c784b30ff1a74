from twisted.trial.unittest import SynchronousTestCase

from dht14.bounded import ExpiringSet


class LatelyTests(SynchronousTestCase):
    def test_remembers(self) -> None:
        """What has happened is remembered for so many seconds from the last time."""
        lately: ExpiringSet[str] = ExpiringSet(10.0, 5)
        lately.note("a", 100.0)
        lately.note("b", 101.0)
        lately.note("a", 105.0)
        lately.forget(111.0)
        self.assertEqual(("a" in lately, "b" in lately), (True, False))
        lately.forget(115.0)
        self.assertNotIn("a", lately)

    def test_bounded(self) -> None:
        """Of too many things the oldest is forgotten."""
        lately: ExpiringSet[int] = ExpiringSet(10.0, 3)
        for what in range(4):
            lately.note(what, 0.0)
        self.assertEqual([what in lately for what in range(4)], [False, True, True, True])
