import argparse
import contextlib
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, cast

from dht14.client.blocking import Client
from dht14.client.errors import DhtError, FileFailed
from dht14.client.file_values import StoredFile
from dht14.cmd.admin_client import AdminClient
from dht14.cmd.command_error import NO_NODE, NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.kept import KEYS_AT_ONCE, keep_file, keep_keys, keep_put
from dht14.files.manifest import PIECE_BYTES, Manifest
from dht14.records.receipt import PutOutcome, Receipt
from dht14.wire.api_messages import Get, Put, encode_receipt, encode_record
from tests.cmd.admin_case import AdminCommandCase, at_terminal
from tests.cmd.admin_server import STATUS, AdminServer
from tests.cmd.api_server import STORED, ApiServer
from tests.cmd.shell import Outcome, run
from tests.net.admin.case import kept_value

KEY = "ab" * 32


def digest(value: bytes) -> bytes:
    return sha256(value).digest()


VALUE = dict(kept_value(int(KEY, 16), b"hello", 7))
EMPTY: dict[str, object] = {"values": [], "next": None, "used": 0, "limit": 1 << 26}
FULL = (507, {"error": "the list is full", "hint": "Raise it."})


class KeptCommandCase(AdminCommandCase):
    """A test can ask several servers, one after the other; each leaves its socket behind."""

    def ask(self, *words: str, answers: Mapping[str, Any]) -> Outcome:
        """As `AdminCommandCase.ask`."""
        self.remove_socket()
        return super().ask(*words, answers=answers)

    def remove_socket(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.data_dir, "admin.sock"))


class KeepTests(KeptCommandCase):
    def test_keep(self) -> None:
        """A key is kept with the wishes of its user."""
        path = f"/v1/kept/{KEY}?ttl=60&replication=3"
        outcome = self.ask("keep", KEY, "--ttl", "60", "--replication", "3", answers={path: VALUE})
        self.assertEqual(outcome, (0, b"", "kept: renewed in 5 min, for 10 min each time\n"))
        self.assertEqual([method for method, *_ in self.server.requests], ["PUT"])

    def test_refused(self) -> None:
        """A refusal says why, and what to do about it."""
        path = f"/v1/kept/{KEY}?ttl=0&replication=0"
        outcome = self.ask("keep", KEY, answers={path: FULL})
        self.assertEqual(outcome.code, NOT_DONE)
        self.assertIn("the list is full. Raise it.", outcome.error)
        answer = self.ask("keep", KEY, "--json", answers={path: FULL})
        self.assertEqual((answer.code, json.loads(answer.out)["error"]), (NOT_DONE, "no_room"))

    def test_other_node(self) -> None:
        """An API that is named alone must be that of the node that is found: else another one would keep."""
        self.patch(os, "environ", {**os.environ, "DHT14_NODE_DATA_DIR": self.data_dir})
        commands = (("put", KEY, "hello", "--keep"), ("keep", KEY), ("unkeep", KEY))
        for own, asked, is_same in (
            ("0.0.0.0:7404", "127.0.0.1:7404", True),
            ("[::]:7404", "localhost:7404", True),
            ("127.0.0.1:7404", "localhost:7404", True),
            ("127.0.0.2:7404", "127.0.0.1:7404", False),
            ("0.0.0.0:7400", "127.0.0.1:7404", False),
            ("0.0.0.0:7404", "192.0.2.1:7404", False),
            (None, "127.0.0.1:7404", False),
        ):
            for command in commands:
                self.remove_socket()
                with AdminServer(self.data_dir, {"/v1/status": STATUS | {"api_address": own}}) as node:
                    outcome = run(*command, "--api-address", asked)
                reached = [path for path in node.paths if path.startswith("/v1/kept")]
                self.assertEqual(bool(reached), is_same, (own, asked, command))
                if not is_same:
                    self.assertEqual(outcome.code, WRONG_USAGE)
                    self.assertIn("--data-dir", outcome.error)

    def test_unkeep(self) -> None:
        """A key is let go; one that is not kept is an error."""
        path = f"/v1/kept/{KEY}"
        self.assertEqual(self.ask("unkeep", KEY, answers={path: {"key": KEY, "by": []}}).code, 0)
        self.assertEqual([method for method, *_ in self.server.requests], ["DELETE"])
        self.assertEqual(self.ask("unkeep", KEY, answers={}).code, NOT_DONE)
        outcome = self.ask("unkeep", KEY, answers={path: {"key": KEY, "by": ["file"]}})
        self.assertEqual(outcome, (0, b"", "let go by its key; still renewed with a kept file\n"))

    def test_file(self) -> None:
        """With the address of a file all its parts are kept, not its list of pieces alone; the address first,
        and nothing if it is not."""
        pieces = [bytes([number]) * PIECE_BYTES for number in range(2)]
        values = [*pieces, Manifest(0, PIECE_BYTES, 2 * PIECE_BYTES, b"".join(map(digest, pieces))).encode()]
        stored = {digest(value): value for value in values}

        def answer(request: Get | Put) -> bytes:
            return encode_record(request.key, 3, 0, 60, stored[request.key])

        address = f"dht14:{digest(values[-1]).hex()}"
        of_file, of_parts = (f"/v1/kept?ttl=0&replication=0&by={by}" for by in ("file", "part"))
        answers: dict[str, Any] = {of_file: {"kept": 1, "refused": []}, of_parts: {"kept": 2, "refused": []}}
        with ApiServer(answer) as api:
            outcome = self.ask("keep", address, "--api-address", api.address, answers=answers)
            self.assertEqual(outcome, (0, b"", "kept: the file, in 3 parts\n"))
            sent = [json.loads(body)["keys"] for *_, body in self.server.requests if body]
            self.assertEqual(sent[0], [address.removeprefix("dht14:")])
            self.assertEqual({key for keys in sent for key in keys}, {key.hex() for key in stored})
            refused = {"kept": 1, "refused": [{"key": KEY, "error": "the list is full"}]}
            for path, count in ((of_parts, 1), (of_file, 3)):
                full = answers | {path: refused}
                outcome = self.ask("keep", address, "--api-address", api.address, answers=full)
                self.assertEqual(outcome.code, NOT_DONE)
                self.assertIn(f"{count} of 3; the list is full", outcome.error)

    def test_unkeep_file(self) -> None:
        """A file is let go by its address, whether it is found or not; the node knows its parts."""
        path, address = f"/v1/kept/{KEY}?by=file", f"dht14:{KEY}"
        unkept = {"key": KEY, "ended": 4, "shared": 0, "by_key": 0, "complete": True}
        others = "; parts that other kept files have, too: 2; parts that are kept by their own keys, too: 1"
        for facts, said in (
            ({}, "not renewed any more: 4 parts"),
            ({"shared": 2, "by_key": 1}, f"not renewed any more: 4 parts{others}"),
            (
                {"complete": False},
                "let go; its parts that no other kept file has are soon not renewed any more",
            ),
        ):
            answers = {path: {**unkept, **facts}}
            outcome = self.ask("unkeep", address, answers=answers)
            self.assertEqual(outcome, (0, b"", f"{said}\n"))
            self.assertEqual([method for method, *_ in self.server.requests], ["DELETE"])
        outcome = self.ask("unkeep", address, "--json", answers={path: unkept})
        facts = {"unkept": 4, "shared": 0, "by_key": 0, "complete": True}
        self.assertEqual(json.loads(outcome.out), {"address": address, **facts})
        outcome = self.ask("unkeep", address, answers={})
        self.assertEqual((outcome.code, outcome.error.count("\n")), (NOT_DONE, 1))
        self.assertIn("no file is kept under this address; dht14 kept lists", outcome.error)

    def test_kept(self) -> None:
        """All pages are listed; a value that is not renewed says why, and has no times that mean nothing."""
        failing = {**VALUE, "failure": "their holders are full", "failing_for": 3.0}
        replaced = {**VALUE, "state": "replaced"}
        answers = {
            "/v1/kept?limit=1000": {**EMPTY, "values": [VALUE, failing], "next": "0a"},
            "/v1/kept?after=0a&limit=1000": {**EMPTY, "values": [replaced]},
        }
        outcome = self.ask("kept", answers=answers)
        rows = [line.split("\t") for line in outcome.out.decode().splitlines()]
        self.assertEqual([row[0] for row in rows], [KEY] * 3)
        self.assertEqual(
            [row[-1] for row in rows], ["renewed", "failing: their holders are full", "replaced"]
        )
        self.assertEqual([row[-4:-1] for row in rows], [["300.0", "600.0", "key"]] * 2 + [["-", "-", "key"]])
        answer = self.ask(
            "kept",
            "--json",
            "--limit",
            "2",
            answers={"/v1/kept?limit=2": {**EMPTY, "values": [VALUE, failing], "next": "0a"}},
        )
        self.assertEqual(json.loads(answer.out), {"values": [VALUE, failing]})

    def test_terminal(self) -> None:
        """On a terminal the list is a table."""
        with AdminServer(self.data_dir, {"/v1/kept?limit=1000": {**EMPTY, "values": [VALUE]}}) as server:
            lines = at_terminal("kept", *server.words).splitlines()
        self.assertIn("LIVES FOR", lines[0])
        self.assertIn("10 min", lines[1])

    def test_status(self) -> None:
        """`dht14 status` shows the list once there is something on it."""
        kept = {"values": 3, "stopped": 1, "failing": 2, "used": 1 << 20, "limit": 1 << 26, "overdue": 9.0}
        outcome = self.ask("status", answers={"/v1/status": {**STATUS, "kept": kept}})
        self.assertIn(
            "kept      3 values, 1.0 MiB of 64.0 MiB, 2 could not be renewed, 1 replaced or deleted since",
            outcome.out.decode(),
        )
        none = {**kept, "values": 0, "stopped": 0}
        self.assertNotIn(b"kept", self.ask("status", answers={"/v1/status": {**STATUS, "kept": none}}).out)

    def test_many_keys(self) -> None:
        """The parts of a file are kept with few requests, its address before them; those that are not kept
        are named."""
        keys = [bytes([number % 256, number // 256]) * 16 for number in range(KEYS_AT_ONCE + 10)]
        refused = {"key": keys[0].hex(), "error": "not found"}
        answers = {
            "/v1/kept?ttl=60&replication=0&by=file": {"kept": 1, "refused": []},
            "/v1/kept?ttl=60&replication=0&by=part": {"kept": 1, "refused": [refused]},
        }
        with AdminServer(self.data_dir, answers) as server:
            found = list(keep_keys(AdminClient(self.data_dir, None), keys, 60, 0))
        self.assertEqual(found, [refused, refused])
        bodies = [json.loads(body)["keys"] for *_, body in server.requests]
        self.assertEqual(bodies[0], [keys[0].hex()])
        self.assertEqual([key for body in bodies for key in body], [key.hex() for key in keys])


class FakeFiles:
    """A client that knows the keys of a file, if any, or fails."""

    def __init__(self, keys: list[bytes] | None, error: DhtError | None = None) -> None:
        self.keys, self.error = keys, error

    def file_keys(self, address: str) -> list[bytes] | None:
        if self.error is not None:
            raise self.error
        return self.keys


class KeepFileTests(KeptCommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.keys = [sha256(b"%d" % number).digest() for number in range(2 * KEYS_AT_ONCE + 1)]
        self.file = StoredFile(
            address=f"dht14:{self.keys[0].hex()}",
            key=self.keys[0],
            size=1 << 20,
            pieces=2 * KEYS_AT_ONCE,
            bytes_found=0,
            expires_in=60,
            copies=8,
            wanted=8,
        )

    def keep_file(self, files: FakeFiles, limit: int = 1 << 40, refused: object = ()) -> dict[str, object]:
        answers = {
            "/v1/kept?limit=1": {**EMPTY, "limit": limit},
            "/v1/kept?ttl=60&replication=0&by=file": {"kept": 1, "refused": []},
            "/v1/kept?ttl=60&replication=0&by=part": {"kept": 1, "refused": refused},
        }
        args = argparse.Namespace(ttl=60, replication=0)
        self.remove_socket()
        with AdminServer(self.data_dir, answers) as self.server:
            return keep_file(AdminClient(self.data_dir, None), cast(Client, files), self.file, args)

    def test_node_ends(self) -> None:
        """If the node ends meanwhile, the error says that the file is stored."""
        args = argparse.Namespace(ttl=60, replication=0)
        files = cast(Client, FakeFiles(self.keys))
        node = AdminClient(self.data_dir, None)
        error = self.assertRaises(CommandError, keep_file, node, files, self.file, args)
        self.assertEqual((error.code, error.facts["stored"], error.facts["kept"]), (NO_NODE, True, False))
        self.assertTrue(str(error).startswith("stored, but not kept: no node runs"))

    def test_all_pieces(self) -> None:
        """All pieces and all manifests of a file are kept."""
        self.assertEqual(self.keep_file(FakeFiles(self.keys)), {"kept": True})
        bodies = [json.loads(body)["keys"] for *_, body in self.server.requests if body]
        self.assertEqual([bytes.fromhex(key) for body in bodies for key in body], self.keys)

    def test_not_all(self) -> None:
        """A file that does not fit, of which pieces are refused, or whose manifest is gone, is not kept, and
        the error says that it is stored."""
        refused = [{"key": "00" * 32, "error": "the list is full"}]
        for files, limit, pieces in (
            (FakeFiles(self.keys), 100, []),
            (FakeFiles(self.keys), 1 << 40, refused),
            (FakeFiles(None), 1 << 40, []),
            (FakeFiles(None, FileFailed("a manifest is missing", 0, 1 << 20)), 1 << 40, []),
        ):
            with self.assertRaises(CommandError) as raised:
                self.keep_file(files, limit, pieces)
            self.assertEqual(raised.exception.facts, {"stored": True, "kept": False})


class PutKeepTests(KeptCommandCase):
    path = f"/v1/kept/{KEY}?ttl=90&replication=0&version=7"

    def put(self, answer_to_keep: object, *words: str, receipt: Receipt = STORED) -> Outcome:
        """Put with --keep at a node."""

        def answer(request: Put | Get) -> bytes:
            return encode_receipt(request.key, receipt)

        self.remove_socket()
        listed = {"/v1/kept?limit=1": EMPTY, self.path: answer_to_keep}
        with ApiServer(answer) as self.api, AdminServer(self.data_dir, listed) as self.server:
            return run(
                *("put", KEY, "hello", "--keep", "--ttl", "90", "--api-address", self.api.address),
                *self.server.words,
                *words,
            )

    def test_kept(self) -> None:
        """The value is put, then kept with the version of its receipt."""
        outcome = self.put(VALUE)
        self.assertEqual(outcome.code, 0)
        self.assertEqual(
            outcome.error, "stored on 8 of 8 nodes; kept: renewed in 5 min, for 10 min each time\n"
        )
        method, path, _, body = self.server.requests[-1]
        self.assertEqual((method, path, body), ("PUT", self.path, b"hello"))
        answer = json.loads(self.put(VALUE, "--json").out)
        self.assertEqual((answer["stored"], answer["kept"]), (True, True))

    def test_no_surface(self) -> None:
        """Without an admin surface nothing is put, and the error says what is missing."""
        with ApiServer() as api:
            outcome = run(
                *("put", KEY, "hello", "--keep", "--api-address", api.address),
                *("--data-dir", self.data_dir),
            )
            none = run(
                *("put", KEY, "hello", "--keep", "--api-address", api.address),
                *("--data-dir", self.data_dir, "--admin-address", "none"),
            )
        self.assertEqual((outcome.code, none.code, api.requests), (NO_NODE, NO_NODE, []))
        self.assertIn("no node runs in", outcome.error)
        self.assertIn("no admin surface", none.error)

    def test_place_without_keep(self) -> None:
        """An option that says which node keeps is wrong usage if it stands alone: the value would go to the
        node at the default address. With --api-address it changes nothing."""
        with ApiServer(lambda request: encode_receipt(request.key, STORED)) as api:
            self.patch(os, "environ", {**os.environ, "DHT14_NODE_API_ADDRESS": api.address})
            for option in ("--data-dir", "--admin-address", "--token-file"):
                outcome = run("put", KEY, "hello", option, self.data_dir)
                self.assertEqual(outcome.code, WRONG_USAGE)
                self.assertIn("with --keep; say with --api-address", outcome.error)
            self.assertEqual(api.requests, [])
            outcome = run("put", KEY, "hello", "--data-dir", self.data_dir, "--api-address", api.address)
            self.assertEqual((outcome.code, len(api.requests)), (0, 1))

    def test_not_kept(self) -> None:
        """If the value is stored and cannot be kept, the error says both."""
        outcome = self.put(FULL, "--json")
        answer = json.loads(outcome.out)
        self.assertEqual((outcome.code, answer["stored"], answer["kept"]), (NOT_DONE, True, False))
        self.assertTrue(outcome.error.startswith("dht14: stored, but not kept: the list is full"))

    def test_not_stored(self) -> None:
        """What is not stored, or has been superseded, is not kept."""
        for outcome in (PutOutcome.NOT_STORED, PutOutcome.SUPERSEDED):
            receipt = Receipt(outcome, 2, 8, version=7)
            self.assertEqual(self.put(VALUE, receipt=receipt).code, NOT_DONE)
            self.assertEqual(self.server.paths, ["/v1/kept?limit=1"])

    def test_error_keeps_its_code(self) -> None:
        """A node that dies between put and keep is reported as no node."""
        args = argparse.Namespace(ttl=0, replication=0)
        error = self.assertRaises(
            CommandError, keep_put, AdminClient(self.data_dir, None), bytes(32), b"v", STORED, args
        )
        self.assertEqual((error.code, error.facts["stored"]), (NO_NODE, True))
