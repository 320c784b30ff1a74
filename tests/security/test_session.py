import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_SPACE
from dht14.security.session import PLAIN, PlainSession
from tests.fakes import check, contact_at, proof_of

HERE, THERE = ("192.0.2.1", 8000), ("2001:db8::2", 8000)


class PlainSessionTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """A datagram is 0x50, the sender's proof and the payload."""
        self.assertEqual(
            PlainSession.of(proof_of(7), check).seal(b"payload", THERE), b"\x50" + proof_of(7) + b"payload"
        )

    @settings(derandomize=True, deadline=None)
    @given(st.integers(0, ID_SPACE - 1), st.binary(min_size=1))
    def test_round_trip(self, node_id: int, payload: bytes) -> None:
        """The other side learns the sender's id, the address the datagram came from, and the payload."""
        datagram = PlainSession.of(proof_of(node_id), check).seal(payload, THERE)
        opened = PlainSession.of(proof_of(9), check).open(datagram, HERE)
        self.assertEqual(opened, (contact_at(node_id, HERE), payload))

    def test_too_short(self) -> None:
        """A datagram without a payload is none."""
        datagram = PlainSession.of(proof_of(7), check).seal(b"x", THERE)
        for length in range(len(datagram)):
            self.assertRaises(Malformed, PlainSession.of(proof_of(9), check).open, datagram[:length], HERE)

    def test_other_kinds(self) -> None:
        """What begins otherwise is of another protocol."""
        rng = random.Random(1)
        for first in set(range(256)) - {PLAIN}:
            self.assertRaises(
                Malformed, PlainSession.of(proof_of(9), check).open, bytes([first]) + rng.randbytes(100), HERE
            )
