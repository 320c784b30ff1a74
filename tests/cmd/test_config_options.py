import json
import os
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from dht14.app import config
from dht14.app.options import SECTIONS, Role
from dht14.cmd.config_options import HIDDEN
from tests.cmd.admin_case import at_terminal
from tests.cmd.shell import run

SECRET = "0123456789abcdef" * 2
OTHER_SECRET = "fedcba9876543210" * 2


class ConfigCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})

    def file(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


class DefaultTests(ConfigCase):
    """`dht14 config`."""

    def test_is_configuration(self) -> None:
        """What it prints is a file that a node accepts, and that changes nothing."""
        printed = run("config")
        self.assertEqual((printed.code, printed.error), (0, ""))
        path = self.file(printed.out.decode())
        self.assertEqual(config.load(Role.NODE, path), config.load(Role.NODE))
        written = config.written(path)
        self.assertEqual(
            set(written),
            {(section, name) for section, kind in SECTIONS.items() for name in attrs.fields_dict(kind)},
        )

    def test_purposes(self) -> None:
        """Each option has its purpose; long ones are wrapped."""
        text = run("config").out.decode()
        self.assertIn("# seconds between sweeps of expired values", text)
        self.assertIn("cleanup_interval = 86400\n", text)
        comments = [line for line in text.splitlines() if line.startswith("#")]
        self.assertLessEqual(max(map(len, comments)), 100)

    def test_environment_ignored(self) -> None:
        """Defaults are defaults, whatever the environment has."""
        os.environ["DHT14_STORAGE_REPLICATION"] = "3"
        self.assertIn(b"\nreplication = 8\n", run("config").out)


class ValueTests(ConfigCase):
    """`dht14 config --config F` and `--env`."""

    def options(self, *words: str) -> dict[str, Any]:
        outcome = run("config", "--json", *words)
        self.assertEqual((outcome.code, outcome.error), (0, ""))
        return {f"{it['section']}.{it['name']}": it for it in json.loads(outcome.out)["options"]}

    def test_sources(self) -> None:
        """Each value has its origin; the environment overrides the file."""
        path = self.file("[storage]\nreplication = 3\nmin_ttl = 9\n[bootstrap]\none = 192.0.2.1:8000\n")
        os.environ["DHT14_STORAGE_MIN_TTL"] = "7"
        options = self.options("--config", path)
        found = {name: (option["value"], option["source"]) for name, option in options.items()}
        self.assertEqual(found["storage.replication"], ("3", path))
        self.assertEqual(found["storage.min_ttl"], ("7", "DHT14_STORAGE_MIN_TTL"))
        self.assertEqual(found["storage.max_ttl"], ("86400", "default"))
        self.assertEqual(found["bootstrap.one"], ("192.0.2.1:8000", path))
        self.assertEqual(found["node.data_dir"], ("data/node", "default"))
        self.assertEqual(options["storage.replication"]["default"], "8")

    def test_environment(self) -> None:
        """--env shows what the environment sets, as in a container without a file."""
        os.environ["DHT14_NODE_NETWORK"] = "test"
        option = self.options("--env")["node.network"]
        self.assertEqual((option["value"], option["source"]), ("test", "DHT14_NODE_NETWORK"))

    def test_role(self) -> None:
        """A bootstrap node has another directory."""
        path = self.file("[node]\ndata_dir =\n")
        options = self.options("--config", path, "--role", "bootstrap_node")
        self.assertEqual(options["node.data_dir"]["value"], "data/bootstrap")

    def test_secrets(self) -> None:
        """A key is hidden in every format; the name of a key file is shown."""
        path = self.file(f"[security]\nencryption_key = {SECRET}\n")
        for words in ((), ("--json",)):
            out = run("config", "--config", path, *words).out.decode()
            self.assertNotIn(SECRET, out)
            self.assertIn(HIDDEN, out)
        os.environ["DHT14_SECURITY_ENCRYPTION_KEY"] = OTHER_SECRET
        self.assertNotIn(OTHER_SECRET, run("config", "--config", path).out.decode())
        os.environ["DHT14_SECURITY_ENCRYPTION_KEY"] = "file:/etc/dht14/key"
        shown = self.options("--config", path)["security.encryption_key"]["value"]
        self.assertEqual(shown, "file:/etc/dht14/key")

    def test_pipe_and_terminal(self) -> None:
        """In a pipe lines with tabs, on a terminal a table."""
        path = self.file("[storage]\nreplication = 3\n")
        lines = run("config", "--config", path).out.decode().splitlines()
        self.assertIn(f"[storage] replication\t3\t{path}", lines)
        head, *rows = at_terminal("config", "--config", path).splitlines()
        self.assertEqual(head.split(), ["OPTION", "VALUE", "FROM"])
        self.assertEqual(len(rows), len(lines))

    def test_unknown_option(self) -> None:
        """A name that no node knows is 78."""
        outcome = run("config", "--config", self.file("[storage]\nreplicas = 3\n"))
        self.assertEqual((outcome.code, outcome.out), (78, b""))
        self.assertIn("did you mean replication?", outcome.error)


class CheckTests(ConfigCase):
    """`dht14 config --check F`."""

    def test_accepted(self) -> None:
        """A configuration that a node accepts is 0."""
        outcome = run("config", "--check", self.file("[storage]\nreplication = 3\n"))
        self.assertEqual((outcome.code, outcome.error), (0, ""))

    def test_shared_file(self) -> None:
        """Of a VoidPhone's shared file it names what is for other modules, and what [dht] sets."""
        path = self.file(
            "hostkey = /key.pem\n[gossip]\ncache_size = 5\n[dht]\nlisten_address = 127.0.0.1:9\n"
        )
        outcome = run("config", "--check", path)
        self.assertEqual(outcome.code, 0)
        self.assertIn("it does not read hostkey, [gossip]", outcome.out.decode())
        self.assertEqual(
            json.loads(run("config", "--check", path, "--json").out)["unused"], ["hostkey", "[gossip]"]
        )
        values = run("config", "--config", path).out.decode()
        self.assertIn(f"[node] p2p_address\t127.0.0.1:9\t[dht] listen_address in {path}\n", values)

    def test_refused(self) -> None:
        """One that it refuses is 78 with the line of the node, which names no secret."""
        secret = "not-to-be-shown"
        for text, line in (
            ("[storage]\nreplication = 99\n", "[storage] replication"),
            ("[storage]\nmin_ttl = 9\nmax_ttl = 5\n", "min_ttl (9) must not exceed max_ttl (5)"),
            (f"[security]\nencryption_key = {secret}\n", "[security] encryption_key"),
            ("[security]\nencryption_key = file:nowhere\n", "cannot read the key file"),
        ):
            outcome = run("config", "--check", self.file(text), "--json")
            self.assertEqual((outcome.code, outcome.error.count("\n")), (78, 1), text)
            self.assertIn(line, outcome.error)
            self.assertNotIn(secret, outcome.error)
            self.assertEqual(json.loads(outcome.out)["error"], "wrong_configuration")

    def test_environment(self) -> None:
        """The environment counts, as for a node."""
        os.environ["DHT14_NODE_X"] = "1"
        self.assertEqual(run("config", "--check", self.file("")).code, 78)

    def test_wrong_usage(self) -> None:
        """One thing at a time."""
        self.assertEqual(run("config", "--check", "f", "--config", "f").code, 2)
        self.assertEqual(run("config", "--check", self.mktemp()).code, 78)
