from twisted.trial.unittest import SynchronousTestCase

from dht14.bounded import BoundedDict, ExpiringSet


class BoundedDictTests(SynchronousTestCase):
    def test_oldest_replaced(self) -> None:
        """A new key replaces the oldest one of a full dict; a known key replaces only its own value."""
        bounded: BoundedDict[str, int] = BoundedDict(2)
        for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
            bounded[key] = value
        self.assertEqual(list(bounded.items()), [("b", 2), ("c", 4)])

    def test_renew(self) -> None:
        """A renewed item is the newest one."""
        bounded: BoundedDict[str, int] = BoundedDict(2)
        for key in ("a", "b", "a", "c"):
            bounded.renew(key, 0)
        self.assertEqual(list(bounded), ["a", "c"])


class ExpiringSetTests(SynchronousTestCase):
    def test_expires(self) -> None:
        """A member stays for `ttl` seconds from the last time it was added."""
        members: ExpiringSet[str] = ExpiringSet(10.0, 5)
        members.add("a", 100.0)
        members.add("b", 101.0)
        members.add("a", 105.0)
        members.expire(111.0)
        self.assertEqual(("a" in members, "b" in members), (True, False))
        members.expire(115.0)
        self.assertNotIn("a", members)

    def test_bounded(self) -> None:
        """A new member of a full set replaces the oldest one."""
        members: ExpiringSet[int] = ExpiringSet(10.0, 3)
        for member in range(4):
            members.add(member, 0.0)
        self.assertEqual([member in members for member in range(4)], [False, True, True, True])
