import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.app import config, shared_file
from dht14.app.options import Role, Settings
from dht14.errors import ConfigError
from dht14.kademlia.contact import Seed

# The shape of the files that modules of VoidPhones have, with what their parsers take and ours does not.
VOIDPHONE = """\
# shared by all modules of this peer
hostkey = /etc/hostkey.pem  ; RSA, 4096 bits

[gossip]
cache_size = 50
degree = 30           ; of the overlay
bootstrapper = 192.0.2.7:6001
listen_address = 127.0.0.1:6001
api_address = 127.0.0.1:7001
api_address = 127.0.0.1:7001
[DHT] ; this is us
p2p_address = [2001:db8::1]:6002
api_address = [::1]:7002  ; for the other modules
[onion]
hop_count
  [rps]
api_address = 127.0.0.1:7004
"""


class SplitTests(SynchronousTestCase):
    """What of a file is ours."""

    def test_own_file(self) -> None:
        """A file without a section [dht] is no shared file."""
        for text in (
            "",
            "[node]\n",
            "[gossip]\n[onion]\n",
            "# [dht]\n",
            "[node]\nnetwork = [dht]\n",
            "[dht\n",
        ):
            self.assertIsNone(shared_file.split(text, ["node"]))

    def test_parts(self) -> None:
        """Lines of other modules become empty, so that a line keeps its number; their sections are named
        once."""
        shared = shared_file.split(
            "a = 1\n; b = 2\nC: =\nd\n[x]\ny\n[Dht]\ne = 1\n[x]\nz\n[node]\n", ["node"]
        )
        assert shared is not None
        self.assertEqual(
            shared.ours.split("\n")[6:8] + shared.ours.split("\n")[10:], ["[dht]", "e = 1", "[node]", ""]
        )
        self.assertEqual(set(shared.ours.split("\n")[:6]), {""})
        self.assertEqual(shared.global_options, (("a", 1), ("c", 3)))
        self.assertEqual(shared.others, ("x",))

    def test_comments(self) -> None:
        """A comment begins at the start, or behind a space."""
        for text, value in (
            ("a:1 ; b", "a:1"),
            ("a:1\t# b", "a:1"),
            ("; a", ""),
            ("a;b#c", "a;b#c"),
            ("", ""),
        ):
            self.assertEqual(shared_file.without_comment(text), value)


class SharedConfigTests(SynchronousTestCase):
    """Settings from a shared file."""

    def load(self, text: str, **layers: Any) -> Settings:
        return config.load(Role.NODE, self.file(text), **layers)

    def file(self, text: str) -> str:
        path: str = self.mktemp()
        Path(path).write_text(text)
        return path

    def refusal(self, text: str) -> str:
        error = self.assertRaises(ConfigError, config.load, Role.NODE, self.file(text))
        return str(error)

    def test_accepted(self) -> None:
        """Of a VoidPhone's file a node reads [dht], and says what it does not read."""
        settings = self.load(VOIDPHONE)
        self.assertEqual(settings.node.p2p_address, ("2001:db8::1", 6002))
        self.assertEqual(settings.node.api_address, ("::1", 7002))
        self.assertEqual(settings.unused, ("hostkey", "[gossip]", "[onion]", "[rps]"))
        self.assertEqual(settings.bootstrap, ())

    def test_names(self) -> None:
        """Each name of [dht] sets the option that it stands for."""
        settings = self.load("[dht]\nlisten_address: a:1\nbootstrapper = b:2\nbootstrap_node = c:3\n")
        self.assertEqual(settings.node.p2p_address, ("a", 1))
        self.assertEqual(settings.bootstrap, (Seed("b", 2), Seed("c", 3)))
        self.assertEqual(settings.unused, ())

    def test_own_sections(self) -> None:
        """Our own sections count beside [dht]; environment and command line override it."""
        text = VOIDPHONE + "[storage]\nreplication = 3\n[bootstrap]\none = a:1\n[node]\nlog_level = debug\n"
        settings = self.load(
            text, environment={"DHT14_NODE_API_ADDRESS": "b:2"}, options={"p2p_address": "c:3"}
        )
        self.assertEqual((settings.storage.replication, settings.bootstrap), (3, (Seed("a", 1),)))
        self.assertEqual((settings.node.api_address, settings.node.p2p_address), (("b", 2), ("c", 3)))

    def test_clients(self) -> None:
        """Commands find the API of a node in the same file."""
        self.assertEqual(config.load_node(Role.NODE, self.file(VOIDPHONE)).api_address, ("::1", 7002))

    def test_refused(self) -> None:
        """What is meant for this node and is wrong is refused as in a file of ours, with the remedy."""
        for text, *remedies in (
            ("[dht]\napi_adress = a:1\n", "unknown option in [dht]: api_adress", "mean api_address?"),
            ("[dht]\napi_address = 7002\n", "[dht] api_address", "write host:port"),
            ("[dht]\napi_address = ; none\n", "[dht] api_address", "write host:port"),
            ("[dht]\napi_address = 2001:db8::1:7002\n", "IPv6 address in brackets"),
            ("[dht]\np2p_address = a:1\nlisten_address = a:1\n", "[dht] listen_address", "keep one"),
            ("[node]\napi_address = a:1\n[dht]\napi_address = a:1\n", "[dht] api_address", "keep one"),
            ("[dht]\n[DHT]\n", "[dht] is twice", "line 2"),
            ("[gossip]\nx\n[dht]\napi_address\n", "line 4", "name = value"),
            ("[dht]\n[node]\np2p_adress = a:1\n", "unknown option in [node]", "mean p2p_address?"),
            ("[dht]\n[node]\ndata_dir = /x # y\n", "[node] data_dir", "line of its own"),
            ("api_address = a:1\n[dht]\n", "line 1", "below [dht]"),
            ("hostkey = /x\nreplication = 3\n[dht]\n", "line 2", "below [storage]"),
        ):
            refusal = self.refusal(text)
            for remedy in remedies:
                self.assertIn(remedy, refusal)

    def test_mistyped_sections(self) -> None:
        """A section that is nearly one of ours is refused with its name; one of another module is not."""
        for section, nearest in (
            ("nodes", "node"),
            ("NODE", "node"),
            ("storge", "storage"),
            ("securty", "security"),
        ):
            refusal = self.refusal(f"[dht]\n[{section}]\nencryption_key = x\n")
            self.assertEqual(refusal.partition("unknown section: ")[2].split()[0], section)
            self.assertTrue(refusal.endswith(f"did you mean {nearest}?"), refusal)
        modules = [
            "auth",
            "nse",
            "rps",
            "onion_auth",
            "onion forwarding",
            "cm",
            "call",
            "ui",
            "bootstrapper",
            "mode",
        ]
        settings = self.load("[dht]\n" + "".join(f"[{name}]\n" for name in modules))
        self.assertEqual(settings.unused, tuple(f"[{name}]" for name in modules))

    def test_without_dht(self) -> None:
        """A file without [dht] is judged as ours; the refusals name that section."""
        self.assertIn("[dht] in a VoidPhone's shared file", self.refusal("hostkey = /x\n[gossip]\n"))
        self.assertIn("unknown section: gossip", self.refusal("[gossip]\n"))
        self.assertTrue(self.refusal("[dth]\n").endswith("did you mean dht?"))

    def test_no_secrets(self) -> None:
        """A key in the wrong place is neither logged nor shown."""
        secret = "k" * 32
        self.assertNotIn(secret, repr(self.load(f"{secret} = 1\n[{secret}]\n[dht]\n").unused))
        self.assertNotIn(secret, self.refusal(f"hostkey = {secret}\n[node]\n"))

    def test_mutated_files(self) -> None:
        """A shared file with any changed bytes loads, or is refused in one line."""
        rng = random.Random(14)
        path = self.file("")
        outcomes = []
        for _ in range(300):
            text = bytearray(VOIDPHONE.encode())
            for _ in range(rng.randrange(1, 9)):
                at = rng.randrange(len(text))
                text[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
            Path(path).write_bytes(text)
            try:
                outcomes.append(bool(config.load(Role.NODE, path).unused))
            except ConfigError as error:
                outcomes.append(False)
                self.assertEqual(len(str(error).splitlines()), 1)
        self.assertEqual(set(outcomes), {True, False})
