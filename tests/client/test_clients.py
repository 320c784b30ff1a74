import io
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    BadKey,
    Forged,
    Incomplete,
    NotReady,
    Refused,
    TimedOut,
    TooLarge,
    Unanswered,
)
from dht14.client.keys import content_key, owner_key, text_key
from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import decode
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    MAX_RECORD_VALUE,
    GetRecord,
    Put,
    PutWithReceipt,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)
from tests.client.both import KEY, AsyncioCalls, BothClients
from tests.client.fake_node import Conversation
from tests.owners import Owner


class ClientCases(BothClients):
    """What both clients do."""

    def test_put_and_get(self) -> None:
        """A value is stored and found; receipt and value say what the node said."""
        node = self.node()
        client = self.connect(node)
        receipt = client.put(b"hello", key="k", ttl=600, replication=8)
        self.assertEqual(
            receipt, dht14.Receipt(key=KEY, outcome=PutOutcome.STORED, copies=8, wanted=8, version=7)
        )
        self.assertEqual(client.get("k"), dht14.Value(value=b"hello", kind="open", version=7, expires_in=60))
        self.assertIsNone(client.get("other"))
        self.assertEqual(
            node.requests,
            [PutWithReceipt(600, 8, KEY, b"hello"), GetRecord(KEY), GetRecord(text_key("other"))],
        )
        self.assertEqual(node.accepted, 1)

    def test_content(self) -> None:
        """Content is stored under its SHA-256, and nothing else is taken for it."""
        client = self.connect(self.node())
        key = content_key(b"hello")
        self.assertEqual(client.put_content(b"hello").key, key)
        self.assertEqual(client.get_content(key).value, b"hello")
        client.put(b"other", key=key)
        self.assertIsNone(client.get_content(key))

    def test_signed(self) -> None:
        """An owner's value has the next number each time, replaces only the one that was read, and is
        deleted."""
        owner = Owner(14, b"blog")
        node = self.node()
        client = self.connect(node)
        began = int(time.time() * 1000)
        receipt = client.put_signed(b"one", owner.private_key, b"blog")
        self.assertEqual(receipt.key, id_to_bytes(owner.key))
        found = client.get(receipt.key)
        self.assertEqual((found.value, found.kind, found.salt), (b"one", "owner", b"blog"))
        self.assertEqual(owner_key(found.owner, found.salt), receipt.key)
        self.assertGreaterEqual(found.version, began)
        file = Path(self.mktemp())
        pem = owner.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(pem)
        client.put_signed(b"two", str(file), b"blog")
        second = decode(node.values[receipt.key])
        self.assertEqual((second.seq, second.cas), (found.version + 1, found.version))
        client.delete(owner.private_key, b"blog")
        third = decode(node.values[receipt.key])
        self.assertEqual((third.seq, third.cas, third.deleted), (second.seq + 1, second.seq, True))
        self.assertIsNone(client.get(receipt.key))
        self.assertIsNone(client.delete(owner.private_key, b"blog"))

    def test_given_numbers(self) -> None:
        """With `seq` or `cas` nothing is read."""
        owner = Owner()
        node = self.node()
        client = self.connect(node)
        key = id_to_bytes(owner.key)
        for numbers, sent in (
            ({"seq": 7}, (7, None)),
            ({"cas": 8}, (9, 8)),
            ({"seq": 20, "cas": 9}, (20, 9)),
        ):
            client.put_signed(b"x", owner.private_key, **numbers)
            envelope = decode(node.values[key])
            self.assertEqual((envelope.seq, envelope.cas), sent)
        client.delete(owner.private_key, seq=30)
        self.assertEqual(decode(node.values[key]).seq, 30)
        self.assertTrue(all(isinstance(request, Put) for request in node.requests))

    def test_refused(self) -> None:
        """A value that is not stored is an error with the reason."""
        for reason in PutReason:
            if reason in (PutReason.NONE, PutReason.NOT_READY, PutReason.UNFINISHED):
                continue
            receipt = Receipt(PutOutcome.NOT_STORED, 2, 8, reason)
            client = self.connect(self.replying(encode_receipt(KEY, receipt)))
            error = self.assertRaises(Refused, client.put, b"x", key="k")
            self.assertEqual((error.reason, error.copies), (reason, 2))

    def test_unfinished(self) -> None:
        """A node that ended before it knew has not refused the value: like one that did not answer."""
        receipt = Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.UNFINISHED)
        client = self.connect(self.replying(encode_receipt(KEY, receipt)))
        error = self.assertRaises(TimedOut, client.put, b"x", key="k")
        self.assertIn("may be stored", str(error))

    def test_acknowledged(self) -> None:
        """Fewer copies and a later write are no errors: the receipt says so."""
        for outcome in (PutOutcome.STORED_BY_ALL, PutOutcome.SUPERSEDED):
            client = self.connect(self.replying(encode_receipt(KEY, Receipt(outcome, 1, 8))))
            self.assertEqual(client.put(b"x", key="k").outcome, outcome)

    def test_not_ready(self) -> None:
        """A node that is not ready is an error of its own."""
        receipt = Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.NOT_READY)
        client = self.connect(
            self.replying(encode_receipt(KEY, receipt), encode_no_record(KEY, NoRecord.NOT_READY))
        )
        self.assertRaises(NotReady, client.put, b"x", key="k")
        self.assertRaises(NotReady, client.get, "k")

    def test_no_value(self) -> None:
        """What is not found or deleted is None; where nobody who should know has answered it is an error."""
        reasons = (NoRecord.NOT_FOUND, NoRecord.DELETED, NoRecord.UNANSWERED)
        client = self.connect(self.replying(*(encode_no_record(KEY, reason) for reason in reasons)))
        self.assertIsNone(client.get("k"))
        self.assertIsNone(client.get("k"))
        self.assertRaises(Unanswered, client.get, "k")

    def test_forged(self) -> None:
        """A node is not believed that an owner has signed a value, or that a value is content."""
        owner, other = Owner(1), Owner(2)
        key = id_to_bytes(owner.key)
        signed = owner.says(b"hello", 1)
        for value in (signed[:-1] + b"!", other.says(b"hello", 1), signed[:50]):
            client = self.connect(
                self.replying(encode_record(key, 2, 1, 60, value), encode_success(key, value))
            )
            self.assertRaises(Forged, client.get, key)
            self.assertRaises(Forged, client.get, key)
        client = self.connect(self.replying(encode_record(KEY, 3, 0, 60, b"no content of this key")))
        self.assertRaises(Forged, client.get, KEY)

    def test_largest(self) -> None:
        """The largest value comes back, though no RECORD holds it; a larger one is refused before anything
        is sent."""
        node = self.node()
        client = self.connect(node)
        for size in (MAX_RECORD_VALUE, MAX_RECORD_VALUE + 1, MAX_VALUE):
            client.put(bytes(size), key="k")
            self.assertEqual(len(client.get("k").value), size)
        error = self.assertRaises(TooLarge, client.put, bytes(MAX_VALUE + 1), key="k")
        self.assertEqual((error.size, error.limit), (MAX_VALUE + 1, MAX_VALUE))
        error = self.assertRaises(TooLarge, client.put_signed, bytes(MAX_VALUE), Owner().private_key)
        self.assertLess(error.limit, MAX_VALUE)
        self.assertEqual(len(node.requests), 6)

    def test_misuse(self) -> None:
        """What cannot be said raises at once."""
        client = self.connect(self.node())
        self.assertRaises(BadKey, client.get, b"short")
        self.assertRaises(BadKey, client.get, "")
        self.assertRaises(TypeError, client.get, 7)
        self.assertRaises(TypeError, client.put, "text", key="k")
        self.assertRaises(ValueError, client.put, b"", key="k")
        self.assertRaises(ValueError, client.put, b"x", key="k", ttl=65_536)
        self.assertRaises(ValueError, client.put, b"x", key="k", replication=256)
        self.assertRaises(ValueError, client.put_signed, b"x", Owner().private_key, bytes(65))
        self.assertRaises(ValueError, client.put_signed, b"x", b"no PEM")
        self.assertRaises(ValueError, client.put_signed, b"x", Owner().private_key, b"", 5, 5)
        self.assertRaises(ValueError, client.get_many, ["k"], concurrency=0)
        self.assertRaises(TypeError, client.get_many, "keys")
        self.assertRaises(TypeError, client.put_signed, b"x", 5)
        self.assertRaises(TypeError, client.put_signed, b"x", Owner().private_key, "salt")
        self.assertRaises(TypeError, client.put_signed, b"x", Owner().private_key, b"", 1.5)
        self.assertRaises(TypeError, client.put_file, 5)
        self.assertRaises(TypeError, client.get_many, ["k"], concurrency="3")
        for items in ("abc", [b"value"], [("k", b"value", 3)]):
            self.assertIn("pairs", str(self.assertRaises(TypeError, client.put_many, items)))
        for numbers in ({"seq": 0}, {"seq": 1 << 63}, {"cas": -1}):
            refused = self.assertRaises(ValueError, client.put_signed, b"x", Owner().private_key, **numbers)
            self.assertIn(next(iter(numbers)), str(refused))
        for address in ("localhost", "::1:7400", "h:0", "h:65536", ":7400", "h:x"):
            self.assertRaises(ValueError, type(self).client, address)
        self.assertRaises(TypeError, type(self).client, ("127.0.0.1", 7400))
        for options in ({"timeout": 0}, {"timeout": float("nan")}, {"connections": 65}):
            self.assertRaises(ValueError, type(self).client, "127.0.0.1:7400", **options)
        for wrong in ({"timeout": None}, {"timeout": "5"}, {"connections": 2.0}):
            refused = self.assertRaises(TypeError, type(self).client, "127.0.0.1:7400", **wrong)
            self.assertIn(next(iter(wrong)), str(refused))

    def test_no_whole_number(self) -> None:
        """A number that is none of a message raises at once, and holds up no other call."""
        client = self.connect(self.node(), timeout=5.0)
        client.put(b"x", key="k")
        for options in ({"ttl": 60.0}, {"replication": 2.5}):
            self.assertRaises(TypeError, client.put, b"x", key="k", **options)
            self.assertRaises(TypeError, client.put_content, b"x", **options)
            self.assertRaises(TypeError, client.put_file, io.BytesIO(b"x"), **options)
        self.assertEqual(client.get("k").value, b"x")

    def test_endless_timeout(self) -> None:
        """A timeout may be as long as one likes."""
        client = self.connect(self.node(), timeout=float("inf"))
        client.put(b"x", key="k")
        self.assertEqual(client.get("k").value, b"x")

    def test_batches(self) -> None:
        """Many values are put and found in order, some at a time."""
        client = self.connect(self.node())
        items = {f"key {number}": b"%d" % number for number in range(300)}
        self.assertEqual([r.key for r in client.put_many(items)], [text_key(key) for key in items])
        self.assertEqual([found.value for found in client.get_many(items)], list(items.values()))
        self.assertEqual(client.get_many([]), [])
        self.assertEqual(client.get_many(["none", "key 1"], concurrency=1)[0], None)

    def test_incomplete_batch(self) -> None:
        """Where some of a batch fail the others are carried out, and the error has the results of all."""
        client = self.connect(self.node())
        error = self.assertRaises(
            Incomplete, client.put_many, [("a", b"1"), ("", b"2"), ("c", bytes(70_000))]
        )
        self.assertEqual([type(r).__name__ for r in error.results], ["Receipt", "BadKey", "TooLarge"])
        self.assertIsInstance(error.__cause__, BadKey)
        self.assertEqual(client.get("a").value, b"1")

    def test_iterator_that_fails(self) -> None:
        """What an iterator of items raises ends the batch; the client goes on working."""
        client = self.connect(self.node())

        def items():
            yield "a", b"1"
            raise KeyError("mine")

        self.assertRaises(KeyError, client.put_many, items())
        self.assertEqual(client.put(b"2", key="b").copies, 8)
        self.assertEqual(client.get("b").value, b"2")

    def test_pipelined(self) -> None:
        """A thousand requests of one batch are under way without waiting for one another."""

        def script(talk: Conversation) -> None:
            unanswered = []
            for request in talk.requests():
                unanswered.append(request)
                if len(unanswered) == 100:
                    talk.send(b"".join(map(talk.node.reply_to, unanswered)))
                    unanswered.clear()

        node = self.node(script)
        found = self.connect(node).get_many([f"k{number}" for number in range(1000)], concurrency=1000)
        self.assertEqual(found, [None] * 1000)
        self.assertEqual(node.accepted, 1)

    def test_closed(self) -> None:
        """A client that was closed says so."""
        client = self.connect(self.node())
        client.get("k")
        client.close()
        client.close()
        self.assertRaises(RuntimeError, client.get, "k")
        self.assertRaises(RuntimeError, client.put_file, io.BytesIO(b"x"))
        self.assertRaises(RuntimeError, client.get_file, f"dht14:{'0' * 64}", io.BytesIO())
        self.assertRaises(RuntimeError, client.file_keys, f"dht14:{'0' * 64}")


class BlockingClientTests(ClientCases, SynchronousTestCase):
    client = dht14.Client


class AsyncioClientTests(ClientCases, SynchronousTestCase):
    client = AsyncioCalls
