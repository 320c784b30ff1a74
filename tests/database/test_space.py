from dht14.database import largest_share
from tests.database.disk import DiskTestCase, record


class SpaceTests(DiskTestCase):
    """The bytes that a database reports."""

    def test_space(self) -> None:
        """The limit, the bytes in use, and those of the writer that holds most."""
        database = self.open()
        self.assertEqual(database.space().largest_share, 0)
        self.offer(database, *(record(key, bytes(1_000), writer=3) for key in range(5)), record(9, writer=4))
        space = database.space()
        self.assertTrue(5_000 < space.largest_share < space.used < space.limit <= self.LIMIT)

    def test_many_writers(self) -> None:
        """With many writers one call reads some shares only; a few calls together find the largest, and that
        it became smaller."""
        self.patch(largest_share, "SHARES_AT_ONCE", 7)
        database = self.open()
        self.offer(database, record(1, bytes(3_000), writer=1))
        alone = database.space().largest_share
        self.offer(database, *(record(key, bytes(10), writer=key) for key in range(2, 40)))
        self.assertEqual({database.space().largest_share for _ in range(30)}, {alone})
        self.offer(database, record(1, bytes(10), writer=1, version=9))
        self.assertIn(alone, [database.space().largest_share for _ in range(30)])
        self.assertLess(database.space().largest_share, alone)

    def test_not_open(self) -> None:
        """A database that is still being opened reports nothing in use."""
        self.assertEqual((self.database().space().used, self.database().space().largest_share), (0, 0))
