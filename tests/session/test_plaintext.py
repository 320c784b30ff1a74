import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import ID_SPACE
from dht14.session.layer import Target
from dht14.session.plaintext import (
    PLAIN,
    PROBE,
    PROBE_NONCE_BYTES,
    PROBE_REPLY,
    PlaintextLayer,
    PlaintextProbe,
)
from tests.fakes import contact_at, proof_of, verify_proof

HOME, AWAY = ("192.0.2.1", 8000), ("2001:db8::2", 8000)


def layer(node_id: int, rate: float = 0, burst: float = 1) -> PlaintextLayer:
    return PlaintextLayer.of(proof_of(node_id), verify_proof, rate, burst)


def seal(node_id: int, payload: bytes) -> bytes:
    datagram = layer(node_id).seal(Contact(9, AWAY), payload, 0.0)
    assert datagram is not None
    return datagram


class PlaintextLayerTests(SynchronousTestCase):
    """Datagrams that name their sender."""

    def test_bytes(self) -> None:
        """A datagram is 0x50, the sender's proof and the payload, however it is sent."""
        expected = b"\x50" + proof_of(7) + b"payload"
        self.assertEqual(seal(7, b"payload"), expected)
        for send in (layer(7).reach, layer(7).resend):
            self.assertEqual(send(Target(AWAY, 9, False), b"payload", 0.0), (expected,))

    @settings(derandomize=True, deadline=None)
    @given(st.integers(0, ID_SPACE - 1), st.binary(min_size=1))
    def test_round_trip(self, node_id: int, payload: bytes) -> None:
        """The other side learns the sender, the address the datagram came from, and the payload; its answer
        finds the way back."""
        peer, opened, replies = layer(9).received(seal(node_id, payload), HOME, 0.0)
        assert peer is not None
        self.assertEqual((peer.contact, opened, replies), (contact_at(node_id, HOME), payload, ()))
        self.assertEqual(peer.seal(payload, 0.0), seal(9, payload))

    def test_too_short(self) -> None:
        """A datagram without a payload is none."""
        datagram = seal(7, b"x")
        for length in range(len(datagram)):
            self.assertRaises(Malformed, layer(9).received, datagram[:length], HOME, 0.0)

    def test_other_kinds(self) -> None:
        """A datagram with another first byte is of another protocol."""
        rng = random.Random(1)
        for first in set(range(256)) - set(PLAIN):
            datagram = bytes([first]) + rng.randbytes(100)
            self.assertRaises(Malformed, layer(9).received, datagram, HOME, 0.0)

    def test_many_senders(self) -> None:
        """A sender is remembered at each of its addresses, up to a limit."""
        one = layer(9)
        for number in range(5000):
            peer, _, _ = one.received(seal(7, b"x"), ("192.0.2.1", number), 0.0)
            assert peer is not None
            self.assertEqual(peer.contact.address, ("192.0.2.1", number))
        self.assertLess(len(one._peers), 5000)

    def test_bucket(self) -> None:
        """What a host may ask for does not grow with the ids it claims."""
        one = layer(9, 10, 20)
        taken = 0
        for node_id in range(50):
            peer, _, _ = one.received(seal(node_id, b"x"), HOME, 0.0)
            assert peer is not None
            taken += peer.bucket.take(0.0)
        self.assertEqual(taken, 20)


class PlaintextProbeTests(SynchronousTestCase):
    """Probes of the plaintext layer."""

    def setUp(self) -> None:
        self.probe = PlaintextProbe(proof_of(7), verify_proof, random.Random(1))

    def test_answered(self) -> None:
        """Every node answers with its proof and the nonce, and does not take the prober for a caller."""
        nonce = self.probe.nonce()
        question = self.probe.ask(Contact(9, AWAY), nonce)
        peer, payload, (answer,) = layer(9).received(question, HOME, 0.0)
        self.assertEqual((peer, payload, len(answer)), (None, b"", len(question)))
        self.assertEqual((self.probe.nonce_in(answer), self.probe.answerer(answer, 0.0)), (nonce, 9))

    def test_sizes(self) -> None:
        """A probe of another size gets no answer: an answer is never longer than its question."""
        for size in set(range(100)) - {PROBE_NONCE_BYTES}:
            datagram = PROBE + proof_of(7) + bytes(size)
            self.assertRaises(Malformed, layer(9).received, datagram, HOME, 0.0)

    def test_no_answer(self) -> None:
        """Other datagrams are no answers."""
        for datagram in (b"", PROBE + proof_of(9) + bytes(8), seal(9, b"x")):
            self.assertRaises(Malformed, self.probe.nonce_in, datagram)
        for datagram in (PROBE_REPLY, PROBE_REPLY + bytes(47)):
            self.assertRaises(Malformed, self.probe.answerer, datagram, 0.0)
