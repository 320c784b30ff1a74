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

    def test_not_open(self) -> None:
        """A database that is still being opened reports nothing in use."""
        self.assertEqual((self.database().space().used, self.database().space().largest_share), (0, 0))
