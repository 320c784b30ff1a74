"""Values that stay, with real nodes: they outlive their time to live and the death of the node."""

import json
import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from dht14.client.blocking import Client
from dht14.files.manifest import PIECE_BYTES
from tests.cmd.shell import Outcome, run
from tests.process.nodes import Twistd, eventually
from tests.process.test_network import NetworkTestCase

TTL = 4
SHORT = {"DHT14_STORAGE_MIN_TTL": "1"}


class KeptTests(NetworkTestCase):
    def setUp(self) -> None:
        # The path of a Unix socket is short.
        short = tempfile.TemporaryDirectory(prefix="dht14-")
        self.addCleanup(short.cleanup)
        super().setUp()
        self.data_dir = Path(short.name) / "node"
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})

    def start(self, *seeds: Twistd) -> Twistd:
        """Start the node that keeps values."""
        node = self.network.node("--data-dir", str(self.data_dir), seeds=seeds, environment=SHORT)
        return node.wait_for_api()

    def command(self, *words: str) -> Outcome:
        return run(*words, "--data-dir", str(self.data_dir))

    def kept(self) -> list[dict[str, Any]]:
        values: list[dict[str, Any]] = json.loads(self.command("kept", "--json").out)["values"]
        return values

    def test_stays(self) -> None:
        """A value that was put with --keep is there long after its time to live, though its node was killed
        at once; one that is put without is not. A value that is let go expires."""
        other = self.network.node(environment=SHORT).wait_for_api()
        keeper = self.start(other)
        keeper.wait_for("Joined")
        api = ("--api-address", f"127.0.0.1:{keeper.api_port}", "--ttl", str(TTL))
        self.assertEqual(self.command("put", "kept", "stays", "--keep", *api).code, 0)
        self.assertEqual(self.command("put", "not kept", "goes", *api).code, 0)
        keeper.kill()
        keeper = self.start(other)
        keeper.wait_for("Joined")
        at_other = ("--api-address", f"127.0.0.1:{other.api_port}")
        eventually(lambda: run("get", "not kept", *at_other).code == 1, "the end of a value")
        self.assertEqual(eventually(lambda: run("get", "kept", *at_other).out, "the kept value"), b"stays")
        eventually(lambda: self.kept()[0]["kept_for"] > 3 * TTL, "three lives")
        self.assertEqual(run("get", "kept", *at_other).out, b"stays")
        self.assertEqual([value["state"] for value in self.kept()], ["renewed"])
        self.assertEqual(self.command("unkeep", "kept").code, 0)
        self.assertEqual(self.kept(), [])
        eventually(lambda: run("get", "kept", *at_other).code == 1, "the end of the value")

    def test_part_with_its_own_key(self) -> None:
        """A part of a kept file that is kept by its own key as well stays when the file is let go, and the
        other way round; a file takes all its other parts with it."""
        node = self.start()
        eventually(lambda: self.command("kept").code == 0, "the list of kept values")
        api = ("--api-address", f"127.0.0.1:{node.api_port}")
        pieces = [bytes([number]) * PIECE_BYTES for number in range(2)]
        file, piece = self.data_dir.parent / "file", self.data_dir.parent / "piece"
        file.write_bytes(b"".join(pieces))
        piece.write_bytes(pieces[0])
        key = sha256(pieces[0]).hexdigest()
        address = self.command("put", "--file", str(file), "--keep", *api).out.decode().strip()
        self.assertEqual(self.command("put", "--content", "--file", str(piece), "--keep", *api).code, 0)
        outcome = self.command("unkeep", address, *api)
        self.assertEqual((outcome.code, [value["key"] for value in self.kept()]), (0, [key]), outcome.error)
        self.assertIn("kept by their own keys, too: 1", outcome.error)
        self.assertEqual(self.command("keep", address, *api).code, 0)
        outcome = self.command("unkeep", key)
        self.assertIn("still renewed with a kept file", outcome.error)
        self.assertEqual(len(self.kept()), 3)
        self.assertEqual(self.command("unkeep", address, *api).code, 0)
        self.assertEqual(self.kept(), [])

    def test_new_version(self) -> None:
        """When the next version of a file that an owner has signed is kept, the parts of the former one leave
        the list; but for those that both have, and those of a file that is kept by its own address."""
        node = self.start()
        eventually(lambda: self.command("kept").code == 0, "the list of kept values")
        api = ("--api-address", f"127.0.0.1:{node.api_port}")
        key, file = str(self.data_dir.parent / "me.pem"), self.data_dir.parent / "file"
        self.assertEqual(run("keygen", key).code, 0)
        pieces = [bytes([number]) * PIECE_BYTES for number in range(4)]

        def keep(*parts: bytes, owner: tuple[str, ...] = ("--sign", key)) -> str:
            file.write_bytes(b"".join(parts))
            put = self.command("put", *owner, "--file", str(file), "--keep", *api)
            self.assertEqual(put.code, 0, put.error)
            return put.out.decode().strip()

        def parts() -> set[str]:
            return {value["key"] for value in self.kept()}

        def keys_of(*addresses: str) -> set[str]:
            found = (Client(api[1]).file_keys(address) or [] for address in addresses)
            return {key.hex() for keys in found for key in keys}

        name = keep(*pieces[:2])
        self.assertEqual(parts(), keys_of(name))
        self.assertEqual(keep(*pieces[1:3]), name)
        self.assertEqual(len(keys_of(name)), 4)
        eventually(lambda: parts() == keys_of(name), "the end of the former parts")
        own = keep(*pieces[1:3], owner=())
        self.assertEqual(keep(pieces[3], pieces[0]), name)
        eventually(lambda: parts() == keys_of(name, own), "the end of the name of a file")
        self.assertEqual(self.command("unkeep", name).code, 0)
        self.assertEqual(parts(), keys_of(own))
        self.assertEqual(self.command("unkeep", own).code, 0)
        self.assertEqual(parts(), set())

    def test_limit(self) -> None:
        """A full list refuses what does not fit, and says so; what is on it stays."""
        node = self.network.node(
            *("--data-dir", str(self.data_dir)), environment={"DHT14_STORAGE_KEPT_LIMIT": "1M"}
        ).wait_for_api()
        eventually(lambda: self.command("kept").code == 0, "the list of kept values")
        large = self.data_dir.parent / "large"
        codes = []
        for number in range(20):
            large.write_bytes(bytes([number]) * 65_000)
            put = self.command(
                *("put", "--content", "--file", str(large), "--keep"),
                *("--api-address", f"127.0.0.1:{node.api_port}"),
            )
            codes.append(put.code)
        self.assertEqual(sorted(set(codes), key=str), [0, 1])
        self.assertEqual(codes, sorted(codes, key=str))
        self.assertIn("kept_limit", put.error)
        self.assertEqual(len(self.kept()), codes.count(0))
