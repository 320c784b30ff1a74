import os
import random
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.app import config
from dht14.app.option_types import host_port
from dht14.app.options import SECTIONS, LogFormat, LogLevel, PutReply, Role, Settings, YesNo
from dht14.errors import ConfigError
from dht14.kademlia.contact import Seed

OLDER_FILE = """\
[node]
p2p_address = 0.0.0.0:8000
api_address = 0.0.0.0:7400
cleanup_interval = 86400
bootstrap_retry_interval = 5
max_bootstrap_retries = 2
[bootstrap]
bootstrap_node_1 = bootstrap_node_1:8000
bootstrap_node_2 = bootstrap_node_2:8000
[security]
encryption_key = 12345678901234567890123456789012
difficulty = 4
[rate_limiter]
requests_per_second = 100
burst_size = 200
"""
SHIPPED_FILE = Path(__file__).parents[2] / "conf" / "config.ini"
SECRET = "Zx9-secret-that-must-not-be-shown"


class ConfigTestCase(SynchronousTestCase):
    """Loads settings from text, as a file has it."""

    def file(self, text: str | bytes) -> str:
        path: str = self.mktemp()
        Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, text: str | bytes = "", **layers) -> Settings:
        return config.load(Role.NODE, self.file(text), **layers)

    def refusal(self, text: str | bytes = "", **layers) -> str:
        path = self.file(text)
        error: Any = self.assertRaises(ConfigError, config.load, Role.NODE, path, **layers)
        self.assertEqual(error.exit_code, 78)
        self.assertLessEqual(len(str(error).splitlines()), 1)
        return str(error)


class FileTests(ConfigTestCase):
    """The settings of a configuration file."""

    def test_nothing_given(self):
        """Without file, environment and options every setting has its default."""
        self.assertEqual(config.load(Role.NODE), Settings())

    def test_shipped_file(self):
        """conf/config.ini lists every option of every section, each at its default."""
        self.assertEqual(config.load(Role.NODE, str(SHIPPED_FILE)), Settings())
        lines = SHIPPED_FILE.read_text().splitlines()
        listed = {line.partition("=")[0].strip() for line in lines if "=" in line and line[0] != "#"}
        self.assertEqual(listed, {name for names in config._OPTIONS.values() for name in names})
        self.assertEqual([line for line in lines if len(line) > 120], [])

    def test_older_file(self):
        """The file of the older implementation works unchanged."""
        loaded = self.load(OLDER_FILE)
        self.assertEqual(loaded.node, Settings().node)
        self.assertEqual(loaded.rate_limiter, Settings().rate_limiter)
        self.assertEqual(loaded.bootstrap, (Seed("bootstrap_node_1", 8000), Seed("bootstrap_node_2", 8000)))
        self.assertEqual(loaded.security.encryption_key, b"12345678901234567890123456789012")

    def test_every_option(self):
        """Each option that a file sets arrives in its attribute, in its type."""
        loaded = self.load(
            "[node]\np2p_address = [::1]:9000\napi_address = localhost:9001\ndata_dir = /var/lib/x\n"
            "cleanup_interval = 1.5\nbootstrap_retry_interval = 0.1\nmax_bootstrap_retries = 0\n"
            "log_level = WARNING\nlog_format = json\n"
            "[api]\napi_allow = 10.1.0.0/16, ::1\nput_reply = none\n"
            "max_connections = 7\nmax_connections_per_client = 3\n"
            "[storage]\nreplication = 20\nmin_ttl = 1\nmax_ttl = 9\ndefault_ttl = 5\nstorage_limit = 2g\n"
            "refresh_interval = 60\n[security]\ndiversity_private = yes\n"
            "[rate_limiter]\nrequests_per_second = 0\nburst_size = 0\n"
        )
        self.assertEqual(loaded.node.p2p_address, ("::1", 9000))
        self.assertEqual(loaded.node.api_address, ("localhost", 9001))
        self.assertEqual(loaded.node.data_dir, "/var/lib/x")
        self.assertEqual((loaded.node.cleanup_interval, loaded.node.bootstrap_retry_interval), (1.5, 0.1))
        self.assertEqual(loaded.node.max_bootstrap_retries, 0)
        self.assertEqual((loaded.node.log_level, loaded.node.log_format), (LogLevel.WARN, LogFormat.JSON))
        self.assertEqual([str(network) for network in loaded.api.api_allow], ["10.1.0.0/16", "::1/128"])
        self.assertIs(loaded.api.put_reply, PutReply.NONE)
        self.assertEqual((loaded.api.max_connections, loaded.api.max_connections_per_client), (7, 3))
        storage = loaded.storage
        self.assertEqual((storage.min_ttl, storage.default_ttl, storage.max_ttl), (1, 5, 9))
        self.assertEqual((storage.replication, storage.storage_limit), (20, 2 << 30))
        self.assertEqual(storage.refresh_interval, 60)
        self.assertEqual(loaded.rate_limiter.requests_per_second, 0)
        self.assertIs(loaded.security.diversity_private, YesNo.YES)

    def test_data_dir_by_role(self):
        """A node and a bootstrap node can share one file: each has a data directory of its own."""
        path = self.file("[node]\ndata_dir =\n")
        self.assertEqual(config.load(Role.NODE, path).node.data_dir, "data/node")
        self.assertEqual(config.load(Role.BOOTSTRAP, path).node.data_dir, "data/bootstrap")
        self.assertEqual(config.load(Role.BOOTSTRAP).node.data_dir, "data/bootstrap")

    def test_default_ttl(self):
        """The default time to live, if it is not configured, follows its bounds."""
        for bounds, ttl in (("", 86400), ("max_ttl = 600", 600), ("min_ttl = 90000\nmax_ttl = 99999", 90000)):
            storage = self.load(f"[storage]\ndefault_ttl =\n{bounds}\n").storage
            self.assertEqual(storage.ttl_unless_asked, ttl)
        self.assertEqual(self.load("[storage]\ndefault_ttl = 70\n").storage.ttl_unless_asked, 70)

    def test_loopback_rate(self):
        """The default limit of requests does not apply to clients on loopback; a configured one does,
        unless they have their own."""
        for text, rate in (
            ("", 0),
            ("requests_per_second = 100", 0),
            ("requests_per_second = 5", 5),
            ("loopback_requests_per_second = 7", 7),
            ("requests_per_second = 5\nloopback_requests_per_second = 0", 0),
        ):
            self.assertEqual(self.load(f"[rate_limiter]\n{text}\n").rate_limiter.loopback_rate, rate)
        self.refusal(
            "[rate_limiter]\nrequests_per_second = 0\nloopback_requests_per_second = 1\nburst_size = 0\n"
        )

    def test_spelling(self):
        """A byte order mark, comments, spaces, percent signs and upper-case option names do no harm."""
        loaded = self.load(b"\xef\xbb\xbf# a\n[node]\n  ; b\nDATA_DIR = /a b/%(x)s/100%\n")
        self.assertEqual(loaded.node.data_dir, "/a b/%(x)s/100%")

    def test_pinned_seed(self):
        """A seed may name the node that must be there."""
        loaded = self.load(f"[bootstrap]\nx = {'aB' * 32}@[2001:db8::1]:8000\n")
        self.assertEqual(loaded.bootstrap, (Seed("2001:db8::1", 8000, int("ab" * 32, 16)),))

    def test_frozen(self):
        """Settings do not change after the start."""
        self.assertRaises(AttributeError, setattr, Settings().node, "data_dir", "x")


class PrecedenceTests(ConfigTestCase):
    """Options before environment before file before defaults."""

    def test_layers(self):
        """Each layer overrides those below it, option by option."""
        loaded = self.load(
            "[node]\ndata_dir = file\nlog_level = error\nmax_bootstrap_retries = 3\n",
            environment={"DHT14_NODE_DATA_DIR": "environment", "DHT14_NODE_LOG_LEVEL": "debug", "HOME": "/"},
            options={"data_dir": "option"},
        )
        self.assertEqual(loaded.node.data_dir, "option")
        self.assertIs(loaded.node.log_level, LogLevel.DEBUG)
        self.assertEqual(loaded.node.max_bootstrap_retries, 3)
        self.assertEqual(loaded.node.p2p_address, ("0.0.0.0", 8000))

    def test_node_alone(self):
        """`load_node` reads [node] as the node does, without its key file."""
        path = self.file(
            "[node]\napi_address = 10.0.0.1:1\n[security]\nencryption_key = file:/no/such/file\n"
        )
        node = config.load_node(Role.BOOTSTRAP, path, {"DHT14_NODE_API_ADDRESS": "10.0.0.1:2"})
        self.assertEqual((node.api_address, node.data_dir), (("10.0.0.1", 2), "data/bootstrap"))
        self.assertRaises(ConfigError, config.load_node, Role.NODE, path, {"DHT14_NODE_X": "1"})

    def test_every_option_has_a_variable(self):
        """DHT14_<SECTION>_<OPTION> exists for each option, sections with underscores included."""
        environment = {
            f"DHT14_{section}_{name}".upper(): config._metadata(section, name)["default"]
            for section, names in config._OPTIONS.items()
            for name in names
        }
        self.assertEqual(self.load(environment=environment).rate_limiter, Settings().rate_limiter)
        loaded = self.load(environment=environment | {"DHT14_RATE_LIMITER_BURST_SIZE": "9"})
        self.assertEqual(loaded.rate_limiter.burst_size, 9)

    def test_seeds(self):
        """A variable adds a seed or overrides the one of its name; --bootstrap replaces them all."""
        text = "[bootstrap]\none = a:1\ntwo = b:2\n"
        environment = {"DHT14_BOOTSTRAP_TWO": "c:3", "DHT14_BOOTSTRAP_MORE": "d:4"}
        loaded = self.load(text, environment=environment)
        self.assertEqual(loaded.bootstrap, (Seed("a", 1), Seed("c", 3), Seed("d", 4)))
        loaded = self.load(text, environment=environment, seeds=["e:5", "f:6"])
        self.assertEqual(loaded.bootstrap, (Seed("e", 5), Seed("f", 6)))

    def test_source_named(self):
        """A refusal says where the value was written."""
        self.assertIn("--log-level", self.refusal(options={"log_level": "x"}))
        self.assertIn("DHT14_NODE_LOG_LEVEL", self.refusal(environment={"DHT14_NODE_LOG_LEVEL": "x"}))
        self.assertIn("--bootstrap", self.refusal(seeds=["x"]))


class RefusalTests(ConfigTestCase):
    """Every mistake is refused with section, option and remedy."""

    def test_unknown_names(self):
        """Unknown sections, options and variables are refused with the nearest known name; where none is
        near, with what lists all names."""
        for text, environment, nearest in (
            ("[nodes]\n", {}, "node?"),
            ("[DEFAULT]\nlog_level = info\n", {}, "[dht]"),
            ("[gossip]\nlisten = 1\n", {}, "[dht]"),
            ("[Storage]\nreplication = 1\n", {}, "storage?"),
            ("[node]\nxyzzy = 1\n", {}, "dht14 config lists all options"),
            ("", {"DHT14_FOO": ""}, "dht14 config lists all options"),
            ("[node]\np2p_adress = 1\n", {}, "p2p_address?"),
            ("[storage]\nreplicas = 1\n", {}, "replication?"),
            ("", {"DHT14_NODE_P2P_ADRESS": ""}, "DHT14_NODE_P2P_ADDRESS?"),
            ("", {"DHT14_BOOTSTRAP_": "a:1"}, "?"),
        ):
            refusal = self.refusal(text, environment=environment)
            self.assertIn("unknown", refusal)
            self.assertTrue(refusal.endswith(nearest), refusal)

    def test_values(self):
        """A wrong value is refused under its section's and its option's name."""
        for section, name, wrong in (
            ("node", "p2p_address", ["", "8000", ":8000", "h:0", "h:65536", "h:x", "h:-1", "::1:8000"]),
            (
                "node",
                "p2p_address",
                ["[::g]:1", "1.2.3:1", "256.1.1.1:1", "a b:1", "-a:1", "[h]:1", "a..b:1"],
            ),
            ("node", "api_address", ["h:٣", "h:1_0", "h: 1"]),
            ("node", "cleanup_interval", ["0", "0.99", "nan", "inf", "1e9", "-5", "x", "", "9" * 5000]),
            ("node", "bootstrap_retry_interval", ["0", "0.09"]),
            ("node", "max_bootstrap_retries", ["-1", "1.5", "1_0", "٣"]),
            ("node", "log_level", ["loud", ""]),
            ("node", "log_format", ["xml"]),
            ("bootstrap", "x", ["", "h", "ab@h:1", "g" * 64 + "@h:1", "@h:1", "a@b@h:1"]),
            ("security", "difficulty", ["-1", "9", "x"]),
            ("rate_limiter", "requests_per_second", ["-1", "nan", "1000001"]),
            ("rate_limiter", "burst_size", ["0", "-1"]),
            ("api", "api_allow", ["", ",", "10.0.0.1/8", "localhost", "10.0.0.0/33"]),
            ("api", "put_reply", ["yes"]),
            ("api", "max_connections", ["0"]),
            ("storage", "replication", ["0", "21"]),
            ("storage", "storage_limit", ["1", "1T", "-1M", "M", "2000G"]),
            ("storage", "max_ttl", ["604801"]),
            ("storage", "default_ttl", ["59", "86401"]),
            ("storage", "min_ttl", ["86401", "0"]),
        ):
            for text in wrong:
                refusal = self.refusal(f"[{section}]\n{name} = {text}\n")
                self.assertIn(f"[{section}]", refusal)
                self.assertIn(name, refusal)

    def test_decorations(self):
        """A comment after a value, quotes, a leading ~ or $ are refused for every option, with the remedy."""
        decorations = (
            ("{} # on the big disk", "line of its own"),
            ("{} ; on the big disk", "line of its own"),
            ("# {}", "line of its own"),
            ('"{}"', "without them"),
            ("'{}'", "without them"),
            ('{} "x"', "without them"),
            ("~/{}", "whole path"),
            ("${}", "value itself"),
            ("/x/${{{}}}", "value itself"),
        )
        options = [(section, name) for section, kind in SECTIONS.items() for name in attrs.fields_dict(kind)]
        for section, name in [*options, ("bootstrap", "one")]:
            for quoting_problem, remedy in decorations:
                text = quoting_problem.format("a:1" if section == "bootstrap" else "1")
                refusal = self.refusal(f"[{section}]\n{name} = {text}\n")
                self.assertIn(f"[{section}] {name} ", refusal)
                self.assertIn(remedy, refusal)
                variable = f"DHT14_{section}_{name}".upper()
                self.assertIn(remedy, self.refusal(environment={variable: text}))
        for text in ("file:~/key", 'file:"key"', "file:key # mine", "file:$HOME/key", '"' + "k" * 32 + '"'):
            self.assertIn("encryption_key", self.refusal(f"[security]\nencryption_key = {text}\n"))

    def test_plain_paths(self):
        """Such characters inside a path are a part of it."""
        for path in ("/data/c#/node", "/a b/c", "./~x", "/it's/x", "/a$b"):
            self.assertEqual(self.load(f"[node]\ndata_dir = {path}\n").node.data_dir, path)

    def test_shared_ports(self):
        """Two TCP ports of a node with one number are refused, where they are at one host. A bootstrap node
        has no API."""
        p2p = "[node]\np2p_address = {}\napi_address = {}\nadmin_address = {}\n"
        for addresses, words in (
            (("0.0.0.0:8000", "0.0.0.0:8000", "unix"), ("api_address: port 8000", "p2p_address", "TCP")),
            (("0.0.0.0:8000", "127.0.0.1:8000", "none"), ("api_address: port 8000", "p2p_address")),
            (("[::1]:8000", "[::]:8000", "unix"), ("api_address: port 8000", "p2p_address")),
            (("[::]:8000", "127.0.0.1:8000", "unix"), ("api_address: port 8000", "p2p_address")),
            (("0.0.0.0:8000", "[::]:7400", "localhost:7400"), ("admin_address: port 7400", "api_addr")),
            (("0.0.0.0:8000", "localhost:7400", "localhost:7400"), ("admin_address: port 7400", "api_addr")),
            (("0.0.0.0:7480", "localhost:7400", "localhost:7480"), ("admin_address: port 7480", "TCP")),
        ):
            refusal = self.refusal(p2p.format(*addresses))
            for word in words:
                self.assertIn(word, refusal)
        for addresses in (
            ("127.0.0.1:8000", "127.0.0.2:8000", "unix"),
            ("0.0.0.0:8000", "[::1]:8000", "none"),
        ):
            self.load(p2p.format(*addresses))
        config.load(Role.BOOTSTRAP, self.file(p2p.format("0.0.0.0:7400", "0.0.0.0:7400", "unix")))

    def test_bounds_told(self):
        """A number out of range is refused with the range."""
        self.assertIn("from 1 to 20", self.refusal("[storage]\nreplication = 21\n"))

    def test_broken_files(self):
        """An invalid file is refused: missing, a folder, not UTF-8, duplicates, no section, no value."""
        for text in (
            b"[node]\nlog_level = \xff\n",
            "[node]\n[node]\n",
            "[node]\nlog_level = info\nlog_level = info\n",
            "log_level = info\n",
            "[node]\nlog_level\n",
            "[node\nlog_level = info\n",
        ):
            self.refusal(text)
        for path in (self.mktemp(), os.curdir):
            self.assertRaises(ConfigError, config.load, Role.NODE, path)

    def test_indented_option(self):
        """An option that is indented by mistake is not read as a part of the one above it."""
        self.assertIn("start of a line", self.refusal("[node]\nlog_level = info\n  log_format = json\n"))


class EncryptionKeyTests(ConfigTestCase):
    """The forms of a key; none is ever shown."""

    def key(self, text: str, **layers) -> bytes | None:
        return self.load(f"[security]\nencryption_key = {text}\n", **layers).security.encryption_key

    def test_forms(self):
        """32 characters and 64 hex digits are keys; an empty text is no key."""
        self.assertEqual(self.key("p%(a)s ;#=:" + "x" * 21), b"p%(a)s ;#=:" + b"x" * 21)
        self.assertEqual(self.key("aB" * 32), bytes([0xAB] * 32))
        self.assertIsNone(self.key(""))

    def test_file(self):
        """A key file is searched beside the configuration, and may end in a newline."""
        folder = Path(self.mktemp())
        folder.mkdir()
        ini = folder / "config.ini"
        ini.write_text("[security]\nencryption_key = file:the.key\n")
        for content in ("0f" * 32, "0f" * 32 + "\n", "0F" * 32 + "\r\n", "k" * 32 + "\n"):
            (folder / "the.key").write_text(content)
            key = config.load(Role.NODE, str(ini)).security.encryption_key
            self.assertIn(key, (bytes([15] * 32), b"k" * 32))
        there = (folder / "the.key").absolute()
        self.assertEqual(
            self.key("", environment={"DHT14_SECURITY_ENCRYPTION_KEY": f"file:{there}"}), b"k" * 32
        )

    def test_bad_files(self):
        """A missing or invalid key file is refused with its name, without its content."""
        held = self.file(SECRET)
        for name in (self.mktemp(), os.curdir, held, self.file(b"\xff" * 32), self.file("a" * 32 + "\n\n")):
            refusal = self.refusal(f"[security]\nencryption_key = file:{os.path.abspath(name)}\n")
            self.assertIn("[security] encryption_key", refusal)
            self.assertIn(os.path.basename(name), refusal)
            self.assertNotIn(SECRET, refusal)

    def test_never_shown(self):
        """However a key is mistyped or misplaced, no refusal repeats it."""
        for text in (
            f"[security]\nencryption_key = {SECRET}\n",
            f"[security]\nencryption_key {SECRET}\n",
            f"[security]\n{SECRET}\n",
            f"[security]\n{SECRET} =\n",
            f"[security]\nencryption_key\n = {SECRET}\n",
            f"encryption_key = {SECRET}\n",
            f"[node]\nlog_level = info\n encryption_key = {SECRET}\n",
        ):
            self.assertNotIn(SECRET.lower(), self.refusal(text).lower())
        variable = {"DHT14_SECURITY_ENCRYPTION_KEY": SECRET}
        self.assertNotIn(SECRET, self.refusal(environment=variable))

    def test_not_in_repr(self):
        """Settings can be logged: their text contains no key."""
        self.assertNotIn("12345678901234567890", repr(self.load(OLDER_FILE)))


class MutationTests(ConfigTestCase):
    """Damaged files."""

    def test_mutated_files(self):
        """A file with any changed bytes loads, or is refused by a ConfigError of one line."""
        rng = random.Random(14)
        original = SHIPPED_FILE.read_bytes() + OLDER_FILE.encode()
        path = self.mktemp()
        refused = 0
        for _ in range(300):
            text = bytearray(original[: rng.randrange(len(original))])
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
            Path(path).write_bytes(text)
            try:
                config.load(Role.NODE, path)
            except ConfigError as error:
                refused += 1
                self.assertEqual(len(str(error).splitlines()), 1)
        self.assertGreater(refused, 100)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.text())
    def test_any_address(self, text):
        """No text makes the address parser raise anything but ValueError."""
        try:
            host, port = host_port(text)
        except ValueError:
            return
        self.assertTrue(host)
        self.assertTrue(1 <= port <= 65535)
