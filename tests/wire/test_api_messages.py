import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.wire.api_messages import (
    MAX_VALUE,
    Failure,
    Get,
    Put,
    Success,
    decode_reply,
    decode_request,
    encode_failure,
    encode_get,
    encode_put,
    encode_success,
)

KEY = bytes(range(32))
keys = st.binary(min_size=32, max_size=32)
values = st.binary(min_size=1, max_size=300)
REASONS = {"wrong size", "wrong size for its type", "unknown type", "empty value", "value too long"}


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
        """To encode what is no message is our own mistake and loud."""
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


class MutationTests(SynchronousTestCase):
    def test_only_malformed_comes_out(self) -> None:
        """Whatever is done to a good frame, a decoder gives a message that encodes to it, or one of its reasons."""
        rng = random.Random(14)
        good = [
            encode_put(60, 8, KEY, b"value"),
            encode_get(KEY),
            encode_success(KEY, b"v"),
            encode_failure(KEY),
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
    start = 8 if frame[2:4] == bytes.fromhex("028a") else 4
    return frame[start : start + 32]
