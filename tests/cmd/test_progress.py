import io
import sys
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd import progress
from dht14.cmd.progress import LOG_INTERVAL, TERMINAL_INTERVAL, Heartbeat, ProgressLine, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ProgressLineTests(SynchronousTestCase):
    now = 100.0

    def line(self, stream: io.StringIO) -> ProgressLine:
        return ProgressLine(stream, "values sealed", lambda: self.now)

    def test_terminal(self) -> None:
        """A terminal gets rate and time left, several times a second, and a clean line at the end."""
        stream = Terminal()
        line = self.line(stream)
        line.update(1, 1000)
        self.assertEqual(stream.getvalue(), "")
        self.now += TERMINAL_INTERVAL
        line.update(100, 1000)
        self.assertEqual(stream.getvalue(), "\r\x1b[Kvalues sealed: 100 of 1000, 500/s, 2 s left")
        line.end()
        self.assertTrue(stream.getvalue().endswith("\r\x1b[K"))

    def test_elsewhere(self) -> None:
        """Elsewhere there is a line every 10 s, and none for a short run."""
        stream = io.StringIO()
        line = self.line(stream)
        for _ in range(25):
            self.now += 1
            line.update(10, 100)
        line.end()
        self.assertEqual(len(stream.getvalue().splitlines()), int(25 / LOG_INTERVAL))

    def test_nowhere(self) -> None:
        """Without a stderr nothing is written."""
        ProgressLine(None, "x").update(1, 2)

    def test_durations(self) -> None:
        """A duration is written in the unit that fits."""
        shown = [duration(seconds) for seconds in (7, 300, 9_000, 1_000_000)]
        self.assertEqual(shown, ["7 s", "5 min", "2.5 h", "12 days"])


class SlowTests(SynchronousTestCase):
    def test_told(self) -> None:
        """Only at a terminal, and only if it takes long, a line says what is waited for."""
        self.patch(progress, "NOTICE_DELAY", 0.01)
        for kind, told in (Terminal, True), (io.StringIO, False):
            stream = kind()
            self.patch(sys, "stderr", stream)
            with progress.notice_if_slow("waiting"):
                for _ in range(200 if told else 3):
                    if stream.getvalue():
                        break
                    time.sleep(0.01)
            self.assertEqual(stream.getvalue(), "waiting\n" if told else "")
        self.patch(progress, "NOTICE_DELAY", 60.0)
        stream = Terminal()
        self.patch(sys, "stderr", stream)
        with progress.notice_if_slow("waiting"):
            pass
        self.assertEqual(stream.getvalue(), "")


class HeartbeatTests(SynchronousTestCase):
    def test_beats(self) -> None:
        """It reports the progress, also while no step ends, until it is stopped."""
        reported = threading.Event()

        class Stream(io.StringIO):
            def write(self, text: str) -> int:
                reported.set()
                return super().write(text)

        stream = Stream()
        threads = threading.enumerate()
        beat = Heartbeat(stream, "dht14 sim", 0.01)
        beat.update("puts", 3, 9)
        beat.begin()
        self.assertTrue(reported.wait(30))
        beat.end()
        self.assertTrue(stream.getvalue().splitlines()[0].endswith("puts: 3 of 9"))
        self.assertEqual(threading.enumerate(), threads)
