import base64
import json
import os
import stat
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.envelope import MAX_SEQ, Envelope, decode
from dht14.records.signing import load_key, public_key_of, verify_envelope
from dht14.wire.api_messages import Get, GetRecord, Put, encode_failure, encode_success
from tests.cmd.api_server import STORED_LINE, ApiServer
from tests.cmd.shell import Outcome, run
from tests.owners import Owner

OWNER, SALTED = Owner(1), Owner(1, b"blog")


class OwnerTestCase(SynchronousTestCase):
    """A folder with the key file of an owner."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.key_file = str(self.directory / "owner.pem")
        pem = OWNER.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        Path(self.key_file).write_bytes(pem)

    def said(self, node: ApiServer) -> Envelope:
        """What the last request was: a PUT of an envelope under its key."""
        put = node.requests[-1]
        assert isinstance(put, Put)
        envelope = verify_envelope(put.value)
        self.assertEqual(put.key, id_to_bytes(envelope.key))
        return envelope


class KeygenTests(OwnerTestCase):
    def test_file(self) -> None:
        """It creates a key file that only its user can read, and prints the owner and the owner's key."""
        path = self.directory / "new.pem"
        outcome = run("keygen", str(path))
        public_key = public_key_of(load_key(path.read_bytes()))
        self.assertEqual((outcome.code, outcome.error), (0, ""))
        self.assertEqual(outcome.out.split()[1], public_key.hex().encode())
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        with ApiServer() as node:
            put = run("put", "--sign", str(path), "value", "--api-address", node.address)
        self.assertEqual(outcome.out.split()[3], put.out.strip())

    def test_json(self) -> None:
        """--json prints one object, without the private key."""
        path = self.directory / "new.pem"
        answer = json.loads(run("keygen", "--json", str(path)).out)
        self.assertEqual(answer.keys(), {"file", "owner", "key"})
        self.assertEqual(answer["owner"], public_key_of(load_key(path.read_bytes())).hex())

    def test_never_overwritten(self) -> None:
        """An existing file or link stays as it is: exit code 2."""
        before = Path(self.key_file).read_bytes()
        link = self.directory / "link"
        link.symlink_to("nowhere")
        for path in (self.key_file, str(link), str(self.directory), str(self.directory / "no" / "such")):
            outcome = run("keygen", path)
            self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (2, b"", 1))
        self.assertEqual(Path(self.key_file).read_bytes(), before)
        self.assertEqual(sorted(os.listdir(self.directory)), ["link", "owner.pem"])


class SignTests(OwnerTestCase):
    def put(self, node: ApiServer, *words: str) -> Outcome:
        return run("put", "--sign", self.key_file, *words, "--api-address", node.address)

    def test_first(self) -> None:
        """For the first version the number is the time, above that of any tombstone; the key is printed."""
        before = time.time_ns() // 1_000_000
        with ApiServer() as node:
            outcome = self.put(node, "--salt", "blog", "hello", "--ttl", "60", "--replication", "3")
            said = self.said(node)
        self.assertEqual(outcome, (0, id_to_bytes(SALTED.key).hex().encode() + b"\n", STORED_LINE))
        self.assertTrue(before <= said.seq <= time.time_ns() // 1_000_000)
        self.assertEqual((said.cas, said.deleted, said.salt, said.payload), (None, False, b"blog", b"hello"))
        get, put = node.requests
        assert isinstance(put, Put)
        self.assertEqual((get, put.ttl, put.replication), (GetRecord(id_to_bytes(SALTED.key)), 60, 3))

    def test_next(self) -> None:
        """The next version replaces the present one and no other."""
        with ApiServer() as node:
            self.put(node, "first", "--seq", "7")
            self.assertEqual(len(node.requests), 1, "it need not look")
            self.put(node, "second")
            said = self.said(node)
        self.assertEqual((said.seq, said.cas, said.payload), (8, 7, b"second"))

    def test_numbers(self) -> None:
        """--seq and --cas are used as given; --cas alone is followed by the next number."""
        with ApiServer() as node:
            for words, seq, cas in (
                (("--seq", "5"), 5, None),
                (("--seq", str(MAX_SEQ), "--cas", "3"), MAX_SEQ, 3),
                (("--cas", "0"), 1, 0),
                (("--cas", "41"), 42, 41),
            ):
                self.assertEqual(self.put(node, "v", *words).code, 0)
                self.assertEqual((self.said(node).seq, self.said(node).cas), (seq, cas))
            self.assertFalse(any(isinstance(request, Get) for request in node.requests))

    def test_squatter(self) -> None:
        """A value of somebody else is no version."""
        with ApiServer() as node:
            run("put", id_to_bytes(OWNER.key).hex(), "squatter", "--api-address", node.address)
            self.assertEqual(self.put(node, "v").code, 0)
            self.assertIsNone(self.said(node).cas)

    def test_file(self) -> None:
        """The payload can be a file."""
        path = self.directory / "payload"
        path.write_bytes(bytes(range(256)))
        with ApiServer() as node:
            self.assertEqual(self.put(node, "--file", str(path)).code, 0)
            self.assertEqual(self.said(node).payload, bytes(range(256)))

    def test_json(self) -> None:
        """--json reports owner and version."""
        with ApiServer() as node:
            outcome = self.put(node, "hello", "--salt", "blog", "--seq", "7", "--json")
        answer = json.loads(outcome.out)
        del answer["seconds"]
        self.assertEqual(
            answer,
            {
                "key": id_to_bytes(SALTED.key).hex(),
                "stored": True,
                "outcome": "stored",
                "copies": 8,
                "wanted": 8,
                "version": 7,
                "value": base64.b64encode(b"hello").decode(),
                "bytes": 5,
                "owner": public_key_of(OWNER.private_key).hex(),
                "seq": 7,
                "salt": base64.b64encode(b"blog").decode(),
                "deleted": False,
            },
        )

    def test_refused(self) -> None:
        """If the node refuses: exit code 1 and the likely reason."""
        with ApiServer(lambda request: encode_failure(request.key)) as node:
            conflict = self.put(node, "v")
        self.assertEqual((conflict.code, conflict.out), (1, b""))
        self.assertIn("--seq or --cas", conflict.error)

    def test_last_number(self) -> None:
        """No version can follow the greatest number."""
        last = OWNER.says(b"last", MAX_SEQ)
        with ApiServer(lambda request: encode_success(request.key, last)) as node:
            self.assertEqual(self.put(node, "v").code, 1)
            self.assertEqual(len(node.requests), 1)

    def test_wrong_usage(self) -> None:
        """What cannot be signed is wrong usage: exit code 2, no secret in the line, no request."""
        broken = self.directory / "broken.pem"
        broken.write_bytes(b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
        sign = ("--sign", self.key_file)
        for words in [
            (*sign,),
            (*sign, "key", "value"),
            (*sign, ""),
            (*sign, "v", "--salt", "s" * 65),
            (*sign, "v", "--seq", "0"),
            (*sign, "v", "--seq", str(MAX_SEQ + 1)),
            (*sign, "v", "--seq", "5", "--cas", "5"),
            ("--sign", str(broken), "v"),
            ("--sign", str(self.directory / "missing"), "v"),
            ("k", "v", "--seq", "5"),
            ("k", "v", "--salt", "s"),
            ("k", "v", "--cas", "0"),
        ]:
            outcome = run("put", *words, "--api-address", "127.0.0.1:1")
            self.assertEqual((outcome.code, outcome.out), (2, b""), (words, outcome.error))
            self.assertNotIn("secret", outcome.error)


class DeleteTests(OwnerTestCase):
    def delete(self, node: ApiServer, *words: str) -> Outcome:
        return run("delete", "--sign", self.key_file, *words, "--api-address", node.address)

    def test_deleted(self) -> None:
        """A tombstone replaces the present version and no other."""
        with ApiServer() as node:
            run("put", "--sign", self.key_file, "v", "--seq", "7", "--api-address", node.address)
            outcome = self.delete(node)
            said = self.said(node)
        self.assertEqual(
            outcome, (0, id_to_bytes(OWNER.key).hex().encode() + b"\n", f"the deletion is {STORED_LINE}")
        )
        self.assertEqual((said.deleted, said.payload, said.seq, said.cas), (True, b"", 8, 7))

    def test_not_found(self) -> None:
        """If there is nothing, nothing is deleted, unless a number is given."""
        with ApiServer() as node:
            self.assertEqual(self.delete(node, "--salt", "blog").code, 1)
            self.assertEqual(node.requests, [GetRecord(id_to_bytes(SALTED.key))])
            self.assertEqual(self.delete(node, "--seq", "9").code, 0)
            self.assertTrue(self.said(node).deleted)

    def test_renewed(self) -> None:
        """With --renew a tombstone follows an unreported one, and a value that has come back."""
        before = time.time_ns() // 1_000_000

        def answer(request: Get | Put) -> bytes:
            if isinstance(request, Put):
                return encode_success(request.key, request.value)
            return encode_failure(request.key)

        with ApiServer(answer) as node:
            for _ in range(2):
                self.assertEqual(self.delete(node, "--renew").code, 0)
                said = self.said(node)
                self.assertTrue(said.deleted and said.seq >= before and said.cas is None)
        with ApiServer() as node:
            run("put", "--sign", self.key_file, "v", "--seq", "7", "--api-address", node.address)
            self.assertEqual(self.delete(node, "--renew").code, 0)
            self.assertEqual((self.said(node).seq, self.said(node).deleted), (8, True))

    def test_json(self) -> None:
        """--json reports whether the value was deleted."""
        for answers, code in ((None, 0), (lambda request: encode_failure(request.key), 1)):
            with ApiServer(answers) as node:
                outcome = self.delete(node, "--seq", "9", "--json")
            answer = json.loads(outcome.out)
            self.assertEqual((answer["deleted"], answer["seq"], outcome.code), (code == 0, 9, code))


class GetTests(OwnerTestCase):
    def get(self, value: bytes, *words: str, key: str = "") -> Outcome:
        with ApiServer(lambda request: encode_success(request.key, value)) as node:
            key = key or id_to_bytes(SALTED.key).hex()
            return run("get", key, *words, "--api-address", node.address)

    def test_decoded(self) -> None:
        """Exactly the payload of an owner's value is written."""
        value = SALTED.says(b"hello", 7)
        self.assertEqual(self.get(value), (0, b"hello", ""))
        path = self.directory / "out"
        self.assertEqual(self.get(value, "--output", str(path)).code, 0)
        self.assertEqual(path.read_bytes(), b"hello")

    def test_raw(self) -> None:
        """With --raw the envelope is written, valid or not."""
        value = SALTED.says(b"hello", 7)
        self.assertEqual(self.get(value, "--raw"), (0, value, ""))
        self.assertEqual(self.get(value[:40], "--raw"), (0, value[:40], ""))
        self.assertEqual(
            decode(base64.b64decode(json.loads(self.get(value, "--raw", "--json").out)["value"])).seq, 7
        )

    def test_json(self) -> None:
        """--json reports owner and version."""
        answer = json.loads(self.get(SALTED.says(b"hello", 7), "--json").out)
        self.assertEqual(base64.b64decode(answer["value"]), b"hello")
        self.assertEqual(answer["owner"], public_key_of(OWNER.private_key).hex())
        self.assertEqual((answer["found"], answer["bytes"], answer["seq"]), (True, 5, 7))
        self.assertEqual((base64.b64decode(answer["salt"]), answer["deleted"]), (b"blog", False))

    def test_forged(self) -> None:
        """A value that is not signed for this key is refused: exit code 1 and a line."""
        value = SALTED.says(b"hello", 7)
        for forged, key in ((value[:-1] + b"?", ""), (value[:50], ""), (value, "ab" * 32)):
            outcome = self.get(forged, key=key)
            self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (1, b"", 1))

    def test_tombstone(self) -> None:
        """A tombstone that a node returns is "not found"."""
        self.assertEqual(
            self.get(SALTED.says(b"", 8)), (1, b"", "dht14: not found: its owner has deleted it\n")
        )
        answer = json.loads(self.get(SALTED.says(b"", 8), "--json").out)
        self.assertEqual((answer["found"], answer["deleted"], answer["value"]), (False, True, None))
