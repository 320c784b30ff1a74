"""What is on disk when a process is gone. FLIPS, KILLS and NODES in the environment make the runs longer."""

import base64
import json
import os
import random
import resource
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from dht14.wire import api_messages
from dht14.wire.api_messages import Success
from tests.process.nodes import (
    DHT14,
    TIMEOUT,
    Twistd,
    VoidPhone,
    eventually,
    run_program,
    run_twistd,
)
from tests.process.test_start import ProcessTestCase

FLIPS = int(os.environ.get("FLIPS", "10"))
KILLS = int(os.environ.get("KILLS", "3"))
NODES = int(os.environ.get("NODES", "5"))
TTL, SAMPLE = 60_000, 200
"""Seconds that values live, longer than any run; how many of the earlier ones are read after a kill."""
KEY = "0123456789abcdef" * 4
UNLIMITED = {"DHT14_RATE_LIMITER_REQUESTS_PER_SECOND": "0", "DHT14_SECURITY_ENCRYPTION_KEY": KEY}

Values = dict[bytes, bytes]


def files(folder: Path) -> Values:
    """The content of all files below a folder, by name."""
    return {
        str(path.relative_to(folder)).encode(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def put_until_gone(client: VoidPhone, rng: random.Random, victims: list[Twistd], kill_after: int) -> Values:
    """PUT one value after the other, 32 under way, and kill the nodes at some moment; what was
    acknowledged."""
    sent: list[tuple[bytes, bytes]] = []
    acknowledged: Values = {}
    try:
        while True:
            key, value = rng.randbytes(32), rng.randbytes(rng.choice([20, 1000]))
            sent.append((key, value))
            client.socket.sendall(api_messages.encode_put(TTL, 0, key, value))
            if len(sent) - len(acknowledged) >= 32:
                reply = client.reply()
                assert isinstance(reply, Success)
                acknowledged[reply.key] = reply.value
            if len(acknowledged) == kill_after:
                for victim in victims:
                    os.kill(victim.process.pid, signal.SIGKILL)
    except ConnectionError:
        for victim in victims:
            victim.process.wait()
        return acknowledged


def is_ready(node: Twistd) -> bool:
    """Whether this process has opened its values: on a busy machine that may take longer than a GET waits."""
    file = node.folder / "data" / "node" / "state.json"
    state = json.loads(file.read_text()) if file.exists() else {"pid": 0}
    return bool(state["pid"] == node.process.pid and not state["awaited"])


class CrashTests(ProcessTestCase):
    """SIGKILL at any moment."""

    def test_one_node(self) -> None:
        """Whatever a node acknowledged is there again when it is killed in the middle of PUTs, however
        often."""
        rng = random.Random(KILLS)
        node = self.network.node(environment=UNLIMITED)
        kept: Values = {}
        for _ in range(KILLS):
            with node.wait_for_api().client() as client:
                newest = put_until_gone(client, rng, [node], rng.randrange(1, 300))
            node.start().wait_for_api()
            eventually(partial(is_ready, node), "its values")
            with node.client() as client:
                for key, value in newest.items():
                    self.assertEqual(client.get(key), value)
                for key in rng.sample(sorted(kept), min(SAMPLE, len(kept))):
                    self.assertEqual(client.get(key), kept[key])
            kept |= newest
        with node.client() as client:
            for key, value in kept.items():
                self.assertEqual(client.get(key), value)
        self.assertNotIn("damaged", (node.folder / "stdout").read_text())

    def test_all_nodes(self) -> None:
        """When all nodes are killed at once during PUTs and come back without seeds, what was acknowledged is
        found within 15 s."""
        rng = random.Random(NODES)
        first = self.network.node(environment=UNLIMITED)
        nodes = [first] + [self.network.node(seeds=(first,), environment=UNLIMITED) for _ in range(NODES - 1)]
        for node in nodes[1:]:
            node.wait_for("Joined")
        time.sleep(2)  # A contact is on disk within 2 s.
        with nodes[-1].wait_for_api().client() as client:
            kept = put_until_gone(client, rng, nodes, 200)
        for node in nodes:
            node.words = tuple(word for word in node.words if word not in ("--bootstrap", first.address))
            node.start()
        with nodes[1].wait_for_api().client() as client:
            deadline = time.monotonic() + 15
            for key, value in kept.items():
                eventually(partial(self.finds, client, key, value), "a value", deadline - time.monotonic())

    def finds(self, client: VoidPhone, key: bytes, value: bytes) -> bool:
        return client.get(key) == value


class SecrecyTests(ProcessTestCase):
    """What is written where."""

    def test_nothing_in_clear(self) -> None:
        """Neither values nor their keys nor the encryption key, in any form, are in any file or in the
        log."""
        node = self.network.node(environment=UNLIMITED).wait_for_api()
        rng = random.Random(1)
        secrets = [bytes.fromhex(KEY)]
        with node.client() as client:
            for _ in range(20):
                key, value = rng.randbytes(32), rng.randbytes(500)
                self.assertTrue(client.put(key, value))
                self.assertEqual(client.get(key), value)
                secrets += [key, value[:32]]
        node.stop()
        written = files(node.folder)
        self.assertGreater(len(written), 5)
        for secret in secrets:
            forms = (
                secret,
                secret.hex().encode(),
                secret.hex().upper().encode(),
                base64.b64encode(secret)[:40],
            )
            for name, content in written.items():
                for form in forms:
                    self.assertNotIn(form, content, name)


class KeyTests(ProcessTestCase):
    """The wrong key, and none."""

    def refused(self, key: str) -> None:
        folder = self.folder / "data"
        before = files(folder)
        began = time.monotonic()
        done = run_twistd("-n", "dht14", folder=self.folder, extra={"DHT14_SECURITY_ENCRYPTION_KEY": key})
        self.assertLess(time.monotonic() - began, TIMEOUT)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (78, 1), done.stderr)
        self.assertIn("[security] encryption_key", done.stderr)
        self.assertNotIn(key or "no key", done.stderr)
        self.assertEqual(files(folder), before)

    def test_refused(self) -> None:
        """A wrong key, a key file that is gone and a key that is gone are exit 78, and nothing changes."""
        node = self.network.node("--data-dir", str(self.folder / "data" / "node"), environment=UNLIMITED)
        with node.wait_for_api().client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
        node.stop()
        for key in ("f" * 64, "12345678901234567890123456789012", "file:nowhere", ""):
            self.refused(key)

    def test_rekey(self) -> None:
        """After a change of the key the values are found with the new one."""
        node = self.network.node(environment=UNLIMITED)
        with node.wait_for_api().client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
        node.stop()
        new_key = "f" * 64
        (node.folder / "new").write_text(new_key + "\n")
        self.assertEqual(self.dht14(node, "rekey", "--new-key-file", "new"), 0)
        node.environment = {**UNLIMITED, "DHT14_SECURITY_ENCRYPTION_KEY": new_key}
        with node.start().wait_for_api().client() as client:
            self.assertEqual(client.get(bytes(32)), b"value")
        self.assertEqual(self.dht14(node, "rekey", "--new-key-file", "new"), 75)

    def dht14(self, node: Twistd, *words: str) -> int:
        """Exit code of a command in a node's folder."""
        return run_program(*DHT14, *words, folder=node.folder, extra=node.environment).returncode


class DamageTests(ProcessTestCase):
    """Files that changed while the node was stopped."""

    def test_flips(self) -> None:
        """With a bit flipped or an end cut off anywhere a node starts, or says why not; no value is wrong."""
        rng = random.Random(FLIPS)
        node = self.network.node(environment=UNLIMITED).wait_for_api()
        values = {rng.randbytes(32): rng.randbytes(900) for _ in range(100)}
        with node.client() as client:
            for key, value in values.items():
                self.assertTrue(client.put(key, value))
        node.stop()
        data_dir = node.folder / "data" / "node"
        whole = self.folder / "whole"
        shutil.copytree(data_dir, whole)
        for _ in range(FLIPS):
            shutil.rmtree(data_dir)
            shutil.copytree(whole, data_dir)
            damaged = self.damage(data_dir, rng)
            (node.folder / "stderr").write_text("")
            node.start()
            if self.serves(node):
                self.look(node, values, damaged)
                self.assertEqual(node.kill(signal.SIGTERM), 0)
            else:
                self.assertEqual(node.process.returncode, 78, damaged)
                self.assertEqual(len(node.stderr().splitlines()), 1, node.stderr())

    def damage(self, folder: Path, rng: random.Random) -> str:
        candidates = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
        path = rng.choice([path for path in candidates if path.suffix == ".mdb"] + candidates)
        content = bytearray(path.read_bytes())
        at = rng.randrange(len(content))
        if rng.random() < 0.3:
            del content[at:]
        else:
            content[at] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        return f"{path.name} at {at}"

    def serves(self, node: Twistd) -> bool:
        port = node.api_port
        assert port is not None

        def known() -> list[bool]:
            if node.process.poll() is not None:
                return [False]
            try:
                VoidPhone(port).close()
            except ConnectionRefusedError:
                return []
            return [True]

        return eventually(known, "an end or a beginning")[0]

    def look(self, node: Twistd, values: Values, damaged: str) -> None:
        with node.client() as client:
            found = [(client.get(key), value) for key, value in values.items()]
        self.assertEqual(
            [get_responded for get_responded, value in found if get_responded not in (None, value)],
            [],
            damaged,
        )


class FullDiskTests(ProcessTestCase):
    """A disk that takes no more, played by a limit on the size of files."""

    def test_full(self) -> None:
        """PUTs fail while the disk is full, GETs go on, and PUTs succeed within 5 s after there is room."""
        node = self.network.node(environment=UNLIMITED).wait_for_api()
        rng = random.Random(1)
        values: Values = {}
        with node.client() as client:
            for _ in range(20):
                key, value = rng.randbytes(32), rng.randbytes(900)
                self.assertTrue(client.put(key, value))
                values[key] = value
            _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
            (database,) = (node.folder / "data" / "node" / "values").glob("*.mdb")
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (database.stat().st_size, hard))
            outcomes = [client.put(rng.randbytes(32), rng.randbytes(900)) for _ in range(40)]
            self.assertIn(False, outcomes)
            for key, value in values.items():
                self.assertEqual(client.get(key), value)
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            eventually(lambda: client.put(rng.randbytes(32), b"value"), "a PUT", 5)
        node.stop()
        templates = [
            event["template"] for event in node.events() if event["template"].startswith("The database can")
        ]
        self.assertEqual(len(templates), 1)
        node.start().wait_for_api()
        with node.client() as client:
            for key, value in values.items():
                self.assertEqual(client.get(key), value)
