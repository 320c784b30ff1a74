import random
from collections.abc import Iterator

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import hash_id
from dht14.records.envelope import (
    MAX_SALT,
    MAX_SEQ,
    Envelope,
    decode,
    key_of_owner,
    may_hash_to_owner_key,
    overhead,
)
from tests.owners import Owner

PUBLIC_KEY, SIGNATURE = bytes(range(32)), bytes(range(64))

seqs = st.integers(1, MAX_SEQ)
envelopes = st.builds(
    lambda seq, cas, salt, public_key, signature, payload: Envelope(
        seq=seq,
        cas=None if cas is None else cas % seq,
        deleted=not payload,
        salt=salt,
        public_key=public_key,
        signature=signature,
        payload=payload,
    ),
    seqs,
    st.none() | seqs,
    st.binary(max_size=MAX_SALT),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=64, max_size=64),
    st.binary(max_size=100),
)


def envelope(**parts: object) -> Envelope:
    plain = Envelope(
        seq=3,
        cas=2,
        deleted=False,
        salt=b"salt",
        public_key=PUBLIC_KEY,
        signature=SIGNATURE,
        payload=b"payload",
    )
    return evolve(plain, **parts)  # type: ignore[arg-type]


class EncodingTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """Every field is where the protocol says."""
        expected = (
            b"DHT14OWN\x01\x02" + bytes(7) + b"\x03" + bytes(7) + b"\x02\x04salt" + PUBLIC_KEY + SIGNATURE
        )
        self.assertEqual(envelope().encode(), expected + b"payload")
        plain = envelope(cas=None, salt=b"").encode()
        self.assertEqual(plain[8:27], b"\x01\x00" + bytes(7) + b"\x03" + bytes(8) + b"\x00")
        tombstone = envelope(cas=0, deleted=True, payload=b"").encode()
        self.assertEqual(tombstone[8:26], b"\x01\x03" + bytes(7) + b"\x03" + bytes(8))

    @settings(derandomize=True, deadline=None)
    @given(envelopes)
    def test_round_trip(self, one: Envelope) -> None:
        """Every envelope comes back unchanged, and exceeds its payload by `overhead`."""
        self.assertEqual(decode(one.encode()), one)
        self.assertEqual(len(one.encode()), overhead(one.salt) + len(one.payload))

    def test_key(self) -> None:
        """The key depends only on public key and salt."""
        self.assertEqual(envelope().key, hash_id(b"dht14/own" + PUBLIC_KEY + b"salt"))
        self.assertEqual(envelope(seq=9, payload=b"other").key, key_of_owner(PUBLIC_KEY, b"salt"))
        self.assertNotEqual(envelope(salt=b"").key, envelope().key)

    def test_nothing_shown(self) -> None:
        """The text of an envelope, which may be logged, contains neither payload nor signature."""
        self.assertNotIn("payload", repr(envelope()))


class StrictnessTests(SynchronousTestCase):
    def assert_malformed(self, raw: bytes) -> None:
        self.assertRaises(Malformed, decode, raw)

    def test_cut_short(self) -> None:
        """Bytes that end before the payload are no envelope."""
        raw = envelope().encode()
        for size in range(len(raw) - len(b"payload") + 1):
            self.assert_malformed(raw[:size])

    def test_other_format(self) -> None:
        """Another magic or format is refused."""
        raw = envelope().encode()
        self.assert_malformed(b"X" + raw[1:])
        self.assert_malformed(raw[:8] + b"\x02" + raw[9:])

    def test_numbers(self) -> None:
        """A sequence number is at least 1, fits 63 bits, and is above its `cas` number."""
        for seq, cas in ((0, None), (MAX_SEQ + 1, None), (3, 3), (3, 4), (3, MAX_SEQ)):
            self.assert_malformed(envelope(seq=seq, cas=cas).encode())
        for seq, cas in ((1, 0), (MAX_SEQ, MAX_SEQ - 1)):
            self.assertEqual(decode(envelope(seq=seq, cas=cas).encode()).cas, cas)

    def test_one_form(self) -> None:
        """A statement has one encoding: unused flags and numbers are refused."""
        raw = envelope(cas=None).encode()
        for flags in range(4, 256):
            self.assert_malformed(raw[:9] + bytes([flags]) + raw[10:])
        self.assert_malformed(raw[:25] + b"\x01" + raw[26:])  # a number to compare with, but no flag

    def test_salt(self) -> None:
        """A salt has up to 64 bytes."""
        decode(envelope(salt=bytes(MAX_SALT)).encode())
        self.assert_malformed(envelope(salt=bytes(MAX_SALT + 1)).encode())

    def test_payload(self) -> None:
        """A tombstone has no payload, every other envelope has one."""
        self.assert_malformed(envelope(deleted=True).encode())
        self.assert_malformed(envelope(payload=b"").encode())

    def test_mutated(self) -> None:
        """Any bytes give an envelope or Malformed, and an envelope encodes to the same bytes."""
        for raw in mutants(random.Random(14), 20_000):
            try:
                one = decode(raw)
            except Malformed:
                continue
            self.assertEqual(one.encode(), raw)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=200))
    def test_anything(self, raw: bytes) -> None:
        """The same holds for any bytes after the magic."""
        for one in (raw, b"DHT14OWN\x01" + raw):
            try:
                self.assertEqual(decode(one).encode(), one)
            except Malformed:
                continue


def mutants(rng: random.Random, count: int) -> Iterator[bytes]:
    """Real envelopes with bytes changed, removed, doubled or inserted."""
    seeds = [Owner(1, b"salt").says(b"payload", 5, 4), Owner(2).says(b"", 1), Owner(3).says(b"x", MAX_SEQ)]
    for _ in range(count):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(raw) or 1)
            raw[at : at + rng.choice((0, 1, 1, 8))] = rng.choice(
                (b"", b"\xff", rng.randbytes(1), raw[:at][-8:])
            )
        yield bytes(raw)


class NamesTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Values whose hash is an owner's key are distinguished from all others."""
        for salt in (b"", b"s", bytes(MAX_SALT)):
            self.assertTrue(may_hash_to_owner_key(b"dht14/own" + PUBLIC_KEY + salt))
        for value in (
            b"dht14/own",
            b"dht14/own" + PUBLIC_KEY[1:],
            b"dht14/own" + PUBLIC_KEY + bytes(MAX_SALT + 1),
            b"dht14/OWN" + PUBLIC_KEY,
        ):
            self.assertFalse(may_hash_to_owner_key(value))
