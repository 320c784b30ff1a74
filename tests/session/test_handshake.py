import random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.security.identity import PROOF_BYTES, Identity
from dht14.session import handshake as hs
from tests.session.pair import BEGINNING, PUZZLE

# The public keys of small order: with any of them every shared secret is zero (RFC 7748, section 6.1).
SMALL_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


class BytesTests(SynchronousTestCase):
    """Sizes that docs/protocol.md promises."""

    def test_sizes(self) -> None:
        """HELLO 256, CHALLENGE 181, FINISH 197 and the request; no datagram above 1,200."""
        self.assertEqual((hs.HELLO_BYTES, hs.CHALLENGE_BYTES, hs.FINISH_BYTES), (256, 181, 197))
        self.assertEqual(hs.FINISH_BYTES + hs.MAX_FINISH_REQUEST_BYTES, 1200)
        self.assertEqual(hs.HEAD_BYTES + hs.ACCEPT_PREFIX_BYTES + hs.AEAD_TAG_BYTES, 59)

    def test_hello(self) -> None:
        """A HELLO names the sought node by a hash that needs its id, or names no node."""
        ephemeral, cid = bytes(range(32)), b"12345678"
        named, open_to_all = hs.hello(cid, ephemeral, 7), hs.hello(cid, ephemeral, None)
        self.assertEqual({len(named), len(open_to_all)}, {256})
        self.assertEqual(named[:41], b"\x41" + cid + ephemeral)
        self.assertEqual(named[41:49], hs.hint_for(7, ephemeral))
        self.assertEqual(open_to_all[41:], bytes(215))
        self.assertNotEqual(hs.hint_for(7, ephemeral), hs.hint_for(7, bytes(32)))

    def test_addresses(self) -> None:
        """Addresses of both families are 18 bytes."""
        self.assertEqual(
            hs.address_bytes(("192.0.2.1", 8000)).hex(), "00" * 10 + "ffff" + "c0000201" + "1f40"
        )
        self.assertEqual(hs.address_bytes(("2001:db8::1", 1)).hex(), "20010db8" + "00" * 11 + "01" + "0001")


class ChallengeTests(SynchronousTestCase):
    """What an initiator believes."""

    def setUp(self) -> None:
        self.identity = Identity.made_up(PUZZLE, random.Random(1))

    def challenge(self, expires_at: float) -> hs.Challenge:
        expires = int(expires_at // 60).to_bytes(4, "big")
        prekey = bytes(range(32))
        signature = self.identity.sign(hs.prekey_to_sign(prekey, expires))
        raw = hs.CHALLENGE + b"12345678" + bytes(24) + self.identity.proof + prekey + expires + signature
        return hs.Challenge.parse(raw)

    def test_parts(self) -> None:
        """Its parts are where docs/protocol.md says."""
        challenge = self.challenge(BEGINNING)
        self.assertEqual((challenge.cid, challenge.cookie), (b"12345678", bytes(24)))
        self.assertEqual((challenge.proof, challenge.prekey), (self.identity.proof, bytes(range(32))))
        challenge.verify(BEGINNING)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=300).filter(lambda raw: len(raw) != hs.CHALLENGE_BYTES))
    def test_other_sizes(self, raw: bytes) -> None:
        """Another size is Malformed."""
        self.assertRaises(Malformed, hs.Challenge.parse, raw)

    def test_expired(self) -> None:
        """A pre-key counts for a day after it expired: a clock may be wrong by that."""
        challenge = self.challenge(BEGINNING)
        challenge.verify(BEGINNING + 86_300)
        challenge.verify(BEGINNING - 86_400)
        self.assertRaises(Malformed, challenge.verify, BEGINNING + 86_401)

    def test_once(self) -> None:
        """A right signature is verified once, in whatever CHALLENGE it comes; a wrong one never counts."""
        challenge = self.challenge(BEGINNING)
        challenge.verify(BEGINNING)
        before = hs.verify_prekey.cache_info().misses
        again = challenge.raw[:1] + bytes(32) + challenge.raw[hs.CHALLENGE_HEAD_BYTES :]
        hs.Challenge.parse(again).verify(BEGINNING)
        self.assertEqual(hs.verify_prekey.cache_info().misses, before)
        for place in range(hs.CHALLENGE_HEAD_BYTES, hs.CHALLENGE_BYTES):
            if hs.CHALLENGE_HEAD_BYTES + 32 <= place < hs.CHALLENGE_HEAD_BYTES + PROOF_BYTES:
                continue  # The nonces of the proof: its puzzles depend on them, the signature does not.
            wrong = bytearray(challenge.raw)
            wrong[place] ^= 1
            for _ in range(2):
                self.assertRaises(Malformed, hs.Challenge.parse(bytes(wrong)).verify, BEGINNING)

    def test_keys_of_small_order(self) -> None:
        """A public key that makes the secret public is refused."""
        private = X25519PrivateKey.from_private_bytes(bytes([9] * 32))
        for key in SMALL_ORDER:
            self.assertRaises(Malformed, hs.shared_secret, private, bytes.fromhex(key))

    def test_not_a_key(self) -> None:
        """A proof without a valid key, and a signature of something else, are refused like any wrong one."""
        self.assertRaises(Malformed, hs.verify_signature, bytes([255] * 48), bytes(64), b"signed")
        self.assertRaises(Malformed, hs.verify_signature, self.identity.proof, bytes(64), b"signed")


class KeyScheduleTests(SynchronousTestCase):
    """What the keys depend on."""

    def test_directions(self) -> None:
        """The keys differ by direction, by ids, and by who is the initiator."""
        schedule = hs.KeySchedule.of(bytes(32), bytes(32))
        keys = [*schedule.session_keys(1, 2), *schedule.session_keys(2, 1), *schedule.session_keys(1, 3)]
        self.assertEqual(len(set(keys)), 6)
        self.assertEqual({len(key) for key in keys}, {32})

    def test_everything_counts(self) -> None:
        """Another transcript or another secret gives other keys."""
        one = hs.KeySchedule.of(bytes(32), bytes(32))
        for other in (
            hs.KeySchedule.of(bytes([1] * 32), bytes(32)),
            hs.KeySchedule.of(bytes(32), bytes([1] * 32)),
        ):
            self.assertNotEqual(one.session_keys(1, 2), other.session_keys(1, 2))
