"""Which reads are right."""

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.oracle import LATENESS, Judgement, Oracle, Write

KEY = 7


class OracleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.oracle = Oracle()

    def write(
        self, value: bytes, began: float, ended: float = inf, kept: bool = True, ttl: float = 1000.0
    ) -> Write:
        write = self.oracle.put_began(KEY, value, ttl, began)
        if ended < inf:
            self.oracle.put_ended(write, kept, ended)
        return write

    def judge(self, found: bytes | None, began: float, ended: float | None = None) -> str:
        return self.oracle.judge(KEY, found, began, began + 1 if ended is None else ended).value

    def test_right(self) -> None:
        """The value that was acknowledged is right, nothing is lost, and other bytes are forged."""
        self.assertEqual(self.judge(None, 0), "right")
        self.write(b"a", 1, 2)
        self.assertEqual(self.judge(b"a", 3), "right")
        self.assertEqual(self.judge(None, 3), "lost")
        self.assertEqual(self.judge(b"b", 3), "forged")

    def test_forged(self) -> None:
        """What has not been written yet, or under another key, is forged."""
        self.write(b"a", 10, 11)
        self.assertEqual(self.judge(b"a", 5), "forged")
        self.assertEqual(self.oracle.judge(KEY + 1, b"a", 12, 13), Judgement.FORGED)

    def test_meanwhile(self) -> None:
        """While a write is at work, both what was before and what it writes are right."""
        self.write(b"a", 1, 2)
        self.write(b"b", 10, 12)
        for found in (b"a", b"b"):
            self.assertEqual(self.judge(found, 9, 11), "right")
            self.assertEqual(self.judge(found, 11), "right")
        self.assertEqual(self.judge(b"b", 12), "right")
        self.assertEqual(self.judge(b"a", 12), "stale")
        self.assertEqual(self.judge(None, 9, 11), "lost")

    def test_failed(self) -> None:
        """A write that failed, or never ended, may be seen or not."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 4, kept=False)
        self.write(b"c", 5)
        for found in (b"a", b"b", b"c"):
            self.assertEqual(self.judge(found, 6), "right")
        self.assertEqual(self.judge(None, 6), "lost")

    def test_at_once(self) -> None:
        """Of two writes at one time either may win."""
        self.write(b"a", 1, 4)
        self.write(b"b", 2, 3)
        self.assertEqual((self.judge(b"a", 5), self.judge(b"b", 5)), ("right", "right"))

    def test_again(self) -> None:
        """A value that was written twice is as new as its second time."""
        self.write(b"a", 1, 2)
        self.write(b"b", 3, 4)
        self.write(b"a", 5, 6)
        self.assertEqual((self.judge(b"a", 7), self.judge(b"b", 7)), ("right", "stale"))

    def test_expired(self) -> None:
        """A value is served until its time is over, for a moment more perhaps, and never after that."""
        self.write(b"a", 0, 1, ttl=60)
        self.assertEqual(self.judge(b"a", 59), "right")
        self.assertEqual(self.judge(b"a", 60 + LATENESS), "right")
        self.assertEqual(self.judge(b"a", 60.1 + LATENESS), "expired")
        self.assertEqual(self.judge(None, 61), "right")
        self.assertEqual(self.judge(None, 10), "lost")

    def test_does_not_return(self) -> None:
        """When a newer value that lived shorter has expired, the older one is not right; nothing is."""
        self.write(b"a", 0, 1)
        self.write(b"b", 2, 3, ttl=60)
        self.assertEqual((self.judge(b"a", 100), self.judge(None, 100)), ("stale", "right"))

    def test_acknowledged(self) -> None:
        """Of each key the newest write, where that can be relied upon."""
        self.write(b"a", 0, 1)
        newest = self.write(b"b", 2, 3, ttl=60)
        self.assertEqual(self.oracle.acknowledged(10), [newest])
        self.assertEqual(self.oracle.acknowledged(100), [])
        self.write(b"c", 11, 12, kept=False)
        self.assertEqual(self.oracle.acknowledged(13), [])
