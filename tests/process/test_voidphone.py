"""docs/voidphone.md, as it stands there: its configuration file, its lines of Python, its frames."""

import re
import sys

from twisted.trial.unittest import SynchronousTestCase

from dht14.wire import api_messages
from tests.process.nodes import TOP, Twistd, run_program
from tests.process.ports import free_port
from tests.process.test_network import NetworkTestCase

PAGE = (TOP / "docs" / "voidphone.md").read_text()
KEY = bytes(range(32))
ROW = r"^\| (\d+)(|–|–\d+) \| (\w+) \| (.*) \|$"
"""First byte, last byte, name and meaning of a field."""


def block(language: str) -> str:
    """Return the only block of the page in this language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


class VoidPhonePageTests(NetworkTestCase):
    def python(self, *words: str) -> str:
        """Return what Python prints."""
        ended = run_program(sys.executable, "-W", "error::SyntaxWarning", *words, folder=self.network.folder)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout

    def test_shared_file(self) -> None:
        """A node and its commands read the file that other modules share; its log names what is not read."""
        self.network.folder.mkdir(parents=True)
        ports = {"8000": free_port(), "7400": free_port(), "8001": free_port()}
        text = re.sub(
            r":(8000|7400|8001)$", lambda found: f":{ports[found[1]]}", block("ini"), flags=re.MULTILINE
        )
        (self.network.folder / "voidphone.ini").write_text(text)
        words = ("-n", "dht14", "--config", "voidphone.ini", "--log-format", "json")
        node = Twistd(self.network.folder, words, ports["8000"], ports["7400"])
        self.network.processes.append(node.start())
        node.wait_for_api()
        self.assertEqual(node.wait_for("share the configuration file")["unused"], "hostkey, [gossip]")
        self.assertEqual(node.wait_for("Listening on")["port"], ports["8000"])
        self.python("-m", "dht14", "put", "greeting", "hello", "--config", "voidphone.ini")
        found = self.python("-m", "dht14", "get", "greeting", "--config", "voidphone.ini")
        self.assertEqual(found, "hello")

    def test_lines(self) -> None:
        """The lines of Python find a value, and say when there is none."""
        node = self.network.node().wait_for_api()
        code = block("python").replace("7400", str(node.api_port))
        self.assertEqual(len([line for line in code.splitlines() if line]), 5)
        self.assertEqual(self.python("-c", code), "not found\n")
        with node.client() as client:
            client.put(b"greeting".ljust(32, b"\0"), b"hello")
        self.assertEqual(self.python("-c", code), "b'hello'\n")


class FramesTests(SynchronousTestCase):
    def test_frames(self) -> None:
        """The tables of the page give each byte of a frame its place."""
        for kind, frame in (
            (650, api_messages.encode_put(600, 8, KEY, b"hello")),
            (651, api_messages.encode_get(KEY)),
            (652, api_messages.encode_success(KEY, b"hello")),
            (653, api_messages.encode_failure(KEY)),
        ):
            table = PAGE.partition(f"**{kind} ")[2].partition("\n\n|")[2].partition("\n\n")[0]
            described = b""
            for first, end, name, text in re.findall(ROW, table, re.MULTILINE):
                value = KEY if name == "key" else bytes.fromhex(text.split("`")[1])
                last = {"": first, "–": str(len(frame) - 1)}.get(end, end[1:])
                self.assertEqual(
                    (int(first), int(last)), (len(described), len(described) + len(value) - 1), name
                )
                described += value
            self.assertEqual(described, frame)
