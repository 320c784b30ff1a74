import asyncio

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.content_store import WINDOW, Hope, StoreTrouble
from dht14.files.window import INITIAL_WINDOW, Window


class WindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.window = Window()

    def stored(self, count: int = 1) -> int:
        """This many values were stored; the size of the window."""

        async def attempt() -> None:
            return

        for _ in range(count):
            asyncio.run(self.window.watch(attempt()))
        return self.window.size

    def lost(self, hope: Hope = Hope.GREAT, at_once: int = 1) -> int:
        """This many values that were under way at once were not stored; the size of the window."""

        async def attempt() -> None:
            await asyncio.sleep(0)
            raise StoreTrouble("lost", hope)

        async def all_at_once() -> list[BaseException | None]:
            attempts = (self.window.watch(attempt()) for _ in range(at_once))
            return await asyncio.gather(*attempts, return_exceptions=True)

        found = asyncio.run(all_at_once())
        self.assertTrue(all(isinstance(one, StoreTrouble) for one in found))
        return self.window.size

    def test_opens(self) -> None:
        """Each value that is stored lets two others begin, up to the greatest window."""
        self.assertEqual((self.window.size, self.stored(3)), (INITIAL_WINDOW, INITIAL_WINDOW + 3))
        self.assertEqual(self.stored(2 * WINDOW), WINDOW)

    def test_closes(self) -> None:
        """Losses at one time halve it once; it never closes altogether."""
        self.stored(WINDOW)
        self.assertEqual([self.lost(at_once=WINDOW), self.lost()], [WINDOW // 2, WINDOW // 4])
        for _ in range(9):
            self.lost()
        self.assertEqual(self.window.size, 1)

    def test_opens_slowly(self) -> None:
        """After a loss it grows by one in a round."""
        size = self.lost()
        self.assertEqual([self.stored(size), self.stored(1)], [size, size + 1])

    def test_other_trouble(self) -> None:
        """Full holders say nothing of the path."""
        self.assertEqual(self.lost(Hope.SMALL), INITIAL_WINDOW)
