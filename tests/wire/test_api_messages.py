import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Kind
from dht14.wire.api_messages import (
    MAX_KIND,
    MAX_RECORD_VALUE,
    REQUEST_BOUNDS,
    ChangedRecord,
    Failure,
    FoundRecord,
    Get,
    GetRecord,
    GoneRecord,
    MissingRecord,
    Put,
    PutReceipt,
    PutWithReceipt,
    Success,
    WatchKey,
    check_request_head,
    decode_reply,
    decode_request,
    encode_changed,
    encode_failure,
    encode_get,
    encode_get_record,
    encode_gone,
    encode_no_record,
    encode_put,
    encode_receipt,
    encode_record,
    encode_success,
    encode_watch,
)
from tests.page import section, vectors

KEY = bytes(range(32))
keys = st.binary(min_size=32, max_size=32)
values = st.binary(min_size=1, max_size=300)
REASONS = {
    "wrong size",
    "wrong size for its type",
    "unknown type",
    "empty value",
    "value too long",
    "unknown flag",
    "unknown kind of record",
    "unknown outcome or reason",
}
RECEIPT = Receipt(PutOutcome.STORED_BY_ALL, 5, 8, PutReason.NONE, 1 << 60)
VECTORS = {
    "DHT PUT": (
        "ttl 600, replication 8, value `hello`",
        encode_put(600, 8, KEY, b"hello"),
        Put(600, 8, KEY, b"hello"),
    ),
    "DHT GET": ("", encode_get(KEY), Get(KEY)),
    "DHT SUCCESS": ("value `hello`", encode_success(KEY, b"hello"), Success(KEY, b"hello")),
    "DHT FAILURE": ("", encode_failure(KEY), Failure(KEY)),
    "DHT PUT WITH RECEIPT": (
        "ttl 600, replication 8, value `hello`",
        encode_put(600, 8, KEY, b"hello", receipt=True),
        PutWithReceipt(600, 8, KEY, b"hello"),
    ),
    "DHT RECEIPT": (
        "outcome 1, stored 5, wanted 8, version 2^60",
        encode_receipt(KEY, RECEIPT),
        PutReceipt(KEY, RECEIPT),
    ),
    "DHT GET RECORD": (
        "the key is the SHA-256 of the value",
        encode_get_record(KEY, content=True),
        GetRecord(KEY, content=True),
    ),
    "DHT RECORD": (
        "kind 1, version 7, 599 s left, value `hello`",
        encode_record(KEY, 1, 7, 599, b"hello"),
        FoundRecord(KEY, 1, 7, 599, b"hello"),
    ),
    "DHT NO RECORD": (
        "deleted by its owner",
        encode_no_record(KEY, NoRecord.DELETED),
        MissingRecord(KEY, NoRecord.DELETED),
    ),
    "DHT WATCH": ("begin", encode_watch(KEY), WatchKey(KEY)),
    "DHT CHANGED": (
        "kind 1, version 8, 600 s left, value `bye`",
        encode_changed(KEY, 1, 8, 600, b"bye"),
        ChangedRecord(KEY, 1, 8, 600, b"bye"),
    ),
    "DHT GONE": ("not found", encode_gone(KEY, NoRecord.NOT_FOUND), GoneRecord(KEY, NoRecord.NOT_FOUND)),
}
"""The examples of docs/protocol.md: what each says, its bytes, and the message."""


def frame(kind, body):
    return (4 + len(body)).to_bytes(2, "big") + kind.to_bytes(2, "big") + body


class RequestTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """The bytes are those of the VoidPhone specification."""
        self.assertEqual(encode_get(KEY), bytes.fromhex("0024 028b") + KEY)
        put = bytes.fromhex("002b 028a 0102 03 00") + KEY + b"abc"
        self.assertEqual(encode_put(0x102, 3, KEY, b"abc"), put)

    @settings(derandomize=True, deadline=None)
    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFF), keys, values)
    def test_round_trip(self, ttl, replication, key, value) -> None:
        """What is encoded is decoded to the same."""
        self.assertEqual(
            decode_request(encode_put(ttl, replication, key, value)), Put(ttl, replication, key, value)
        )
        self.assertEqual(decode_request(encode_get(key)), Get(key))

    def test_largest(self) -> None:
        """A value may have 65,495 bytes and fills a frame then."""
        largest = encode_put(0, 0, KEY, bytes(MAX_VALUE))
        self.assertEqual((MAX_VALUE, len(largest)), (65_495, 65_535))
        self.assertEqual(decode_request(largest), Put(0, 0, KEY, bytes(MAX_VALUE)))

    def test_reserved_byte(self) -> None:
        """The reserved byte of a PUT may be anything."""
        self.assertEqual(
            decode_request(frame(650, b"\0\1\2\xff" + KEY + b"v")),
            Put(ttl=1, replication=2, key=KEY, value=b"v"),
        )

    def test_malformed(self) -> None:
        """Everything else is malformed, for a reason that says what is wrong."""
        head = bytes(4) + KEY
        for bad, reason in [
            (b"", "wrong size"),
            (b"\x00\x04\x02", "wrong size"),
            (encode_get(KEY) + b"?", "wrong size"),
            (encode_get(KEY)[:-1], "wrong size"),
            (frame(651, KEY + b"?"), "wrong size for its type"),
            (frame(651, KEY[1:]), "wrong size for its type"),
            (frame(650, head[1:]), "wrong size for its type"),
            (frame(650, head), "empty value"),
            (frame(652, KEY + b"v"), "unknown type"),
            (frame(653, KEY), "unknown type"),
            (frame(0, KEY), "unknown type"),
        ]:
            error = self.assertRaises(Malformed, decode_request, bad)
            self.assertEqual(str(error), reason, bad)

    def test_encoding_nonsense(self) -> None:
        """Wrong arguments of an encoder raise ValueError."""
        for nonsense in [
            lambda: encode_get(KEY[1:]),
            lambda: encode_failure(KEY + b"?"),
            lambda: encode_put(0, 0, KEY, b""),
            lambda: encode_put(0, 0, KEY, bytes(MAX_VALUE + 1)),
            lambda: encode_put(65_536, 0, KEY, b"v"),
            lambda: encode_put(0, -1, KEY, b"v"),
            lambda: encode_success(KEY, b""),
        ]:
            self.assertRaises(ValueError, nonsense)


class ReplyTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """The bytes are those of the VoidPhone specification."""
        self.assertEqual(encode_success(KEY, b"ab"), bytes.fromhex("0026 028c") + KEY + b"ab")
        self.assertEqual(encode_failure(KEY), bytes.fromhex("0024 028d") + KEY)

    @settings(derandomize=True, deadline=None)
    @given(keys, values)
    def test_round_trip(self, key, value) -> None:
        """What is encoded is decoded to the same."""
        self.assertEqual(decode_reply(encode_success(key, value)), Success(key, value))
        self.assertEqual(decode_reply(encode_failure(key)), Failure(key))

    def test_malformed(self) -> None:
        """Everything else is malformed, for a reason that says what is wrong."""
        for bad, reason in [
            (b"\x00\x04", "wrong size"),
            (frame(652, KEY[1:]), "wrong size for its type"),
            (frame(652, KEY), "empty value"),
            (frame(652, KEY + bytes(MAX_VALUE + 1)), "value too long"),
            (frame(653, KEY + b"?"), "wrong size for its type"),
            (encode_get(KEY), "unknown type"),
        ]:
            error = self.assertRaises(Malformed, decode_reply, bad)
            self.assertEqual(str(error), reason, bad)


class ExtensionTests(SynchronousTestCase):
    """Types 660 to 667, and the examples of the page."""

    def test_vectors(self) -> None:
        """docs/protocol.md shows a message of each type, which the code sends and decodes."""
        shown = vectors(section("1.3"))
        self.assertEqual({name for name, _ in shown.values()}, VECTORS.keys())
        for number, (name, raw) in shown.items():
            _, expected, message = VECTORS[name]
            self.assertEqual((raw, int.from_bytes(raw[2:4], "big")), (expected, number), name)
            decode = decode_request if isinstance(message, Put | Get) else decode_reply
            self.assertEqual(decode(raw), message)

    @settings(derandomize=True, deadline=None)
    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFF), keys, values, st.booleans())
    def test_requests(self, ttl, replication, key, value, content) -> None:
        """Requests are decoded, and not taken for a plain PUT or GET."""
        put = encode_put(ttl, replication, key, value, receipt=True)
        self.assertEqual(decode_request(put), PutWithReceipt(ttl, replication, key, value))
        self.assertNotEqual(decode_request(put), Put(ttl, replication, key, value))
        self.assertEqual(decode_request(encode_get_record(key, content)), GetRecord(key, content))

    @settings(derandomize=True, deadline=None)
    @given(
        keys,
        st.sampled_from(PutOutcome),
        st.integers(0, 300),
        st.integers(0, 255),
        st.sampled_from(PutReason),
        st.integers(0, 2**64 - 1),
    )
    def test_receipts(self, key, outcome, stored, wanted, reason, version) -> None:
        """A receipt arrives as it was; only a count that its byte cannot hold is cut."""
        decoded = decode_reply(encode_receipt(key, Receipt(outcome, stored, wanted, reason, version)))
        self.assertEqual(
            decoded, PutReceipt(key, Receipt(outcome, min(stored, 255), wanted, reason, version))
        )

    @settings(derandomize=True, deadline=None)
    @given(keys, st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.integers(-5, 2**33), values)
    def test_records(self, key, kind, version, ttl, value) -> None:
        """A record arrives as it was; a ttl that its field cannot hold is cut."""
        decoded = decode_reply(encode_record(key, kind, version, ttl, value))
        self.assertEqual(decoded, FoundRecord(key, kind, version, min(max(ttl, 0), 2**32 - 1), value))

    def test_kinds(self) -> None:
        """Every kind of record fits a RECORD."""
        self.assertEqual([*Kind], [*range(1, MAX_KIND + 1)])

    def test_largest(self) -> None:
        """A value that leaves no room for the other fields of a RECORD comes as a SUCCESS."""
        fits, not_quite = bytes(MAX_RECORD_VALUE), bytes(MAX_RECORD_VALUE + 1)
        self.assertEqual(MAX_RECORD_VALUE, 65_486)
        self.assertEqual(decode_reply(encode_record(KEY, 3, 0, 60, fits)), FoundRecord(KEY, 3, 0, 60, fits))
        self.assertEqual(decode_reply(encode_record(KEY, 3, 0, 60, not_quite)), Success(KEY, not_quite))

    def test_watching(self) -> None:
        """A WATCH says whether it begins or ends; a CHANGED leaves out a value that is too large for it."""
        for on in (True, False):
            self.assertEqual(decode_request(encode_watch(KEY, on)), WatchKey(KEY, on))
        for size, left in ((1, 1), (MAX_RECORD_VALUE, MAX_RECORD_VALUE), (MAX_RECORD_VALUE + 1, 0)):
            changed = decode_reply(encode_changed(KEY, 3, 0, -1, bytes(size)))
            self.assertEqual(changed, ChangedRecord(KEY, 3, 0, 0, bytes(left)))
        for reason in NoRecord:
            self.assertEqual(decode_reply(encode_gone(KEY, reason)), GoneRecord(KEY, reason))

    def test_malformed(self) -> None:
        """Everything else is malformed, for a reason that says what is wrong."""
        receipt, record = VECTORS["DHT RECEIPT"][1], VECTORS["DHT RECORD"][1]
        for decode, bad, reason in [
            (decode_request, frame(660, bytes(4) + KEY), "empty value"),
            (decode_request, frame(660, KEY), "wrong size for its type"),
            (decode_request, frame(662, KEY), "wrong size for its type"),
            (decode_request, frame(662, KEY + b"\2"), "unknown flag"),
            (decode_request, frame(665, KEY + b"\2"), "unknown flag"),
            (decode_request, frame(665, KEY), "wrong size for its type"),
            (decode_request, frame(668, KEY + b"\1"), "unknown type"),
            (decode_request, receipt, "unknown type"),
            (decode_reply, receipt[:36] + b"\4" + receipt[37:], "unknown outcome or reason"),
            (decode_reply, receipt[:39] + b"\x08" + receipt[40:], "unknown outcome or reason"),
            (decode_reply, frame(661, KEY), "wrong size for its type"),
            (decode_reply, frame(664, KEY + b"\5"), "unknown outcome or reason"),
            (decode_reply, record[:36] + b"\0" + record[37:], "unknown kind of record"),
            (decode_reply, frame(663, KEY + bytes(13)), "empty value"),
            (decode_reply, frame(666, KEY + bytes(14)), "unknown kind of record"),
            (decode_reply, frame(667, KEY + b"\5"), "unknown outcome or reason"),
            (decode_reply, frame(668, KEY + bytes(14)), "unknown type"),
        ]:
            error = self.assertRaises(Malformed, decode, bad)
            self.assertEqual(str(error), reason, bad)

    def test_encoding_nonsense(self) -> None:
        """Wrong arguments of an encoder raise ValueError."""
        for nonsense in [
            lambda: encode_receipt(KEY, Receipt(PutOutcome.STORED, 8, 8, PutReason.NONE, 2**64)),
            lambda: encode_record(KEY, 1, -1, 60, b"v"),
            lambda: encode_record(KEY, 1, 1, 60, b""),
            lambda: encode_get_record(KEY[1:]),
        ]:
            self.assertRaises(ValueError, nonsense)


class HeadTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """The shortest and the longest message of each type may begin; one byte less or more may not."""
        for kind, (shortest, longest) in REQUEST_BOUNDS.items():
            for size in (shortest, longest):
                check_request_head(size, kind)
            self.assertRaises(Malformed, check_request_head, shortest - 1, kind)
            if longest < 0xFFFF:
                self.assertRaises(Malformed, check_request_head, longest + 1, kind)

    def test_other_protocols(self) -> None:
        """HTTP, TLS, SSH and SMTP are refused by their first four bytes."""
        for greeting in (
            b"GET / HTTP/1.1",
            b"POST / HTTP",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01\x02\x00\x01",
            b"SSH-2.0-x",
            b"EHLO x",
        ):
            size, kind = int.from_bytes(greeting[:2], "big"), int.from_bytes(greeting[2:4], "big")
            self.assertRaises(Malformed, check_request_head, size, kind)


class MutationTests(SynchronousTestCase):
    def test_only_malformed_comes_out(self) -> None:
        """Of any changed frame a decoder makes a message that encodes to it, or raises Malformed with a known
        reason."""
        rng = random.Random(14)
        good = [
            encode_put(60, 8, KEY, b"value"),
            encode_get(KEY),
            encode_success(KEY, b"v"),
            encode_failure(KEY),
            *(raw for _, raw, _ in VECTORS.values()),
        ]
        understood, reasons = 0, set()
        for _ in range(5000):
            bad = bytearray(rng.choice(good))
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(bad))
                bad[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
                bad = bad or bytearray(1)
            if rng.random() < 0.7:
                bad[:2] = len(bad).to_bytes(2, "big")
            for decode in (decode_request, decode_reply):
                try:
                    message = decode(bytes(bad))
                except Malformed as error:
                    reasons.add(str(error))
                else:
                    understood += 1
                    self.assertEqual(message.key, _key_in(bytes(bad)))
        self.assertTrue(understood)
        self.assertEqual(reasons, REASONS - {"value too long"})


def _key_in(frame):
    start = 8 if frame[2:4] in (bytes.fromhex("028a"), bytes.fromhex("0294")) else 4
    return frame[start : start + 32]
