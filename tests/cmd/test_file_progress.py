import io

from twisted.trial.unittest import SynchronousTestCase

from dht14.client.file_values import FileProgress
from dht14.cmd.file_progress import DEFAULT_SHARE, RATE_SECONDS, TransferLine, bytes_text, storage_line
from dht14.cmd.progress import LOG_INTERVAL, TERMINAL_INTERVAL
from dht14.database.limits import RESERVE, SpaceLimits


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TransferLineTests(SynchronousTestCase):
    now = 100.0

    def line(self, stream: io.StringIO | None) -> TransferLine:
        return TransferLine(stream, "stored", lambda: self.now)

    def test_terminal(self) -> None:
        """A terminal gets a bar with amount, rate and time left, several times a second, and a clean end."""
        stream = Terminal()
        line = self.line(stream)
        line.update(FileProgress(bytes_done=0, bytes_total=80_000_000))
        self.assertEqual(stream.getvalue(), "")
        self.now += 2
        line.update(FileProgress(bytes_done=20_000_000, bytes_total=80_000_000))
        shown = "[######..................] stored 25 %, 20.0 MB of 80.0 MB, 10.0 MB/s, 6 s left"
        self.assertEqual(stream.getvalue(), "\r\x1b[K" + shown)
        self.now += TERMINAL_INTERVAL / 2
        line.update(FileProgress(bytes_done=21_000_000, bytes_total=80_000_000))
        self.assertTrue(stream.getvalue().endswith(shown))
        line.end()
        self.assertTrue(stream.getvalue().endswith("\r\x1b[K"))

    def test_elsewhere(self) -> None:
        """Elsewhere there is a line every 10 s, and none for a short transfer."""
        stream = io.StringIO()
        line = self.line(stream)
        for second in range(25):
            self.now += 1
            line.update(FileProgress(bytes_done=second * 1_000_000, bytes_total=None))
        line.end()
        lines = stream.getvalue().splitlines()
        self.assertEqual(len(lines), int(25 / LOG_INTERVAL))
        self.assertEqual(lines[0], "stored 9.0 MB, 1.0 MB/s")

    def test_standstill(self) -> None:
        """That nothing moves is told after a second on a terminal, elsewhere every 10 s, also before the
        first news. What moves is not disturbed."""
        for stream, first, count in ((Terminal(), 1, 100), (io.StringIO(), int(LOG_INTERVAL), 3)):
            line = self.line(stream)
            for second in range(1, 31):
                self.now += 1
                line.tick()
                self.assertEqual("no progress" in stream.getvalue(), second >= first, second)
            self.assertLessEqual(stream.getvalue().count("no progress"), count)
            self.assertIn("stored 0 bytes; no progress for 30 s", stream.getvalue())
            line.update(FileProgress(bytes_done=20_000_000, bytes_total=80_000_000))
            shown = stream.getvalue()
            line.tick()
            self.assertEqual(stream.getvalue(), shown)
            self.now += LOG_INTERVAL
            line.tick()
            self.assertIn("stored 25 %, 20.0 MB of 80.0 MB; no progress for 10 s", stream.getvalue())

    def test_rate(self) -> None:
        """The rate is that of the last seconds."""
        stream = io.StringIO()
        line = self.line(stream)
        done = 50_000_000
        for second in range(60):
            self.now += 1
            done += 1_000_000 if second < 60 - RATE_SECONDS - 2 else 4_000_000
            line.update(FileProgress(bytes_done=done, bytes_total=10**9))
        lines = stream.getvalue().splitlines()
        self.assertIn(", 1.0 MB/s,", lines[0])
        self.assertIn(", 4.0 MB/s,", lines[-1])

    def test_nowhere(self) -> None:
        """Without a stderr nothing is written."""
        self.line(None).update(FileProgress(bytes_done=1, bytes_total=2))

    def test_what_it_takes(self) -> None:
        """Before the start: what the copies take, how many nodes that needs, and when they expire."""
        small = FileProgress(bytes_done=0, bytes_total=100_000_000, wanted=8, expires_in=86_400)
        self.assertEqual(
            storage_line(small),
            "8 copies of 100.0 MB take 800.0 MB; it expires after 24.0 h, unless you put it again",
        )
        large = FileProgress(bytes_done=0, bytes_total=10**9, wanted=8)
        self.assertIn("that takes 18 nodes or more", storage_line(large))
        self.assertEqual(storage_line(FileProgress(bytes_done=0, bytes_total=None, wanted=8)), "")

    def test_few_nodes(self) -> None:
        """A network with fewer nodes than wanted copies takes what it has copies of, not more."""
        for copies, begins in (
            (5, "5 copies of 1.0 MB take 5.0 MB"),
            (1, "1 copy of 1.0 MB takes 1.0 MB"),
            (9, "8 copies of 1.0 MB take 8.0 MB"),
        ):
            progress = FileProgress(bytes_done=1, bytes_total=10**6, copies=copies, wanted=8)
            self.assertEqual(storage_line(progress), begins)
        whole = FileProgress(bytes_done=1, bytes_total=10**9, copies=2, wanted=8)
        self.assertIn("that takes 5 nodes or more", storage_line(whole))

    def test_share(self) -> None:
        """The share of a writer is the one of the database: one byte more is refused."""
        limits = SpaceLimits(1 << 30, 1.0)
        size = (1 << 30) - (1 << 30) // RESERVE
        self.assertEqual(limits.shortfall(DEFAULT_SHARE, 0, [(DEFAULT_SHARE, 1)]).needed, 0)
        self.assertGreater(limits.shortfall(size // 2 + 9, 0, [(size // 2 + 9, 1)]).needed, 0)
        self.assertLess(size / 2 - DEFAULT_SHARE, 1_000_000)

    def test_units(self) -> None:
        """Bytes are written in the unit that fits."""
        shown = [bytes_text(count) for count in (0, 1, 999, 1_000, 65_280, 10**8, 10**9, 5 * 10**12)]
        self.assertEqual(
            shown, ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "65.3 kB", "100.0 MB", "1.0 GB", "5,000.0 GB"]
        )
