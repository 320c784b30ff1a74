import contextlib
import socket
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.browser.chromium import Browser, browser, missing
from tests.process.nodes import environment, eventually
from tests.process.ports import free_port

PHONE = 380


class CrowdTests(SynchronousTestCase):
    """The page with any number of contacts."""

    def setUp(self) -> None:
        if reason := missing():
            raise SkipTest(reason)
        window = browser()
        self.browser: Browser = window.__enter__()
        self.addCleanup(window.__exit__, None, None, None)

    def open(self, contacts: int, width: int = 1280) -> None:
        port = free_port()
        words = [sys.executable, "-m", "tests.browser.crowd", str(port), str(contacts)]
        process = subprocess.Popen(words, env=environment({}))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        eventually(lambda: self.accepts(port), "the page")
        self.browser.open(f"http://127.0.0.1:{port}/#token=token", width)
        self.browser.wait_for_text("#contacts", f"{contacts:,}")
        self.browser.wait_for_text(
            "#contacts-note" if contacts else "#peers-note", "nodes" if contacts else "No"
        )

    def accepts(self, port: int) -> bool:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    def marks(self) -> int:
        return len(self.browser.all("#space .ok, #space .slow, #space .bad, #space .router"))

    def test_none(self) -> None:
        """Without contacts the page says so, and what the node does about it."""
        self.open(0)
        self.assertEqual(self.marks(), 0)
        self.browser.wait_for_text("#peers-note", "tries its seeds")
        self.assertEqual(self.browser.console(), [])

    def test_one(self) -> None:
        """One contact is one mark and one row."""
        self.open(1)
        self.assertEqual((self.marks(), len(self.browser.all("#peers tbody tr"))), (1, 1))

    def test_thousand(self) -> None:
        """A thousand contacts are all in the key space and in the table, which scrolls by itself; no mark is
        outside of the picture, on a phone neither."""
        for width in (1280, PHONE):
            self.open(1_000, width)
            self.assertEqual((self.marks(), len(self.browser.all("#peers tbody tr"))), (1_000, 1_000))
            outside = self.browser.run(
                "const s = document.querySelector('#space').getBoundingClientRect();"
                "return [...document.querySelectorAll('#space .ok, #space .bad, #space .slow, #space text')]"
                ".map((e) => e.getBoundingClientRect())"
                ".filter((b) => b.left < s.left || b.right > s.right || b.top < s.top || b.bottom > s.bottom)"
                ".length"
            )
            self.assertEqual(outside, 0)
            whole = self.browser.run("return document.documentElement.scrollHeight")
            self.assertLess(whole, 3_000)
            self.browser.click("button[data-sort=rtt]")
            first, second = self.browser.all("#peers tbody tr td:nth-child(4)")[:2]
            self.assertLessEqual(float(first.text.split()[0]), float(second.text.split()[0]))
