import random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_SPACE
from dht14.wire.datagram import decode, decode_any, encode, encode_any
from dht14.wire.fast_codec import DECODERS, ENCODERS
from dht14.wire.messages import (
    MAX_TTL_MS,
    MAX_VERSION,
    FindValue,
    Message,
    Nodes,
    Pong,
    Store,
    Stored,
    Value,
    view_of,
)
from tests.fakes import contact_at, verify_proof
from tests.wire.test_datagram import RPC_ID, messages

CONTACTS = tuple(contact_at(n << 200 | 7, (f"192.0.2.{n}", 8000)) for n in range(1, 21))
WHOLE: dict[type, Message] = {
    Nodes: Nodes(CONTACTS),
    Pong: Pong(1_700_000_000_000),
    Value: Value(1 << 60, 86_400_000, 8, True, b"v" * 100),
    Stored: Stored((), replication=8),
    Store: Store(7, 1 << 60, 86_400_000, 8, 1 << 63, b"v" * 100),
    FindValue: FindValue(7, view_of((1, 2, 3, 4, 5))),
}
FORMS = st.one_of(
    messages,
    st.builds(
        Value,
        st.integers(1 << 32, MAX_VERSION),
        st.integers(1 << 16, MAX_TTL_MS),
        st.integers(0, 20),
        st.booleans(),
        st.one_of(st.binary(min_size=1, max_size=30), st.binary(min_size=250, max_size=260)),
    ),
    st.builds(
        Store,
        st.integers(0, ID_SPACE - 1),
        st.integers(1 << 31, MAX_VERSION),
        st.integers(1 << 15, MAX_TTL_MS),
        st.integers(0, 20),
        st.integers(1 << 31, (1 << 64) - 1),
        st.one_of(st.binary(min_size=1, max_size=30), st.binary(min_size=250, max_size=260)),
        st.booleans(),
    ),
    st.builds(Stored, st.just(()), st.booleans(), st.integers(0, 20)),
    st.integers(0, 20).map(lambda count: Nodes(CONTACTS[:count])),
)


def outcome(decode: object, data: bytes) -> object:
    """What a decoder makes of these bytes; the class Malformed where it refuses them."""
    try:
        return decode(data, verify_proof)  # type: ignore[operator]
    except Malformed:
        return Malformed


class FastCodecTests(SynchronousTestCase):
    """The fast codec and the schema make and read the same bytes."""

    @settings(derandomize=True, deadline=None)
    @given(st.binary(min_size=8, max_size=8), FORMS)
    def test_encode(self, rpc_id: bytes, message: Message) -> None:
        """Both make the same bytes of a message, and read the same message out of them."""
        data = encode(rpc_id, message)
        self.assertEqual(data, encode_any(rpc_id, message))
        self.assertEqual(decode(data, verify_proof), (rpc_id, message))
        self.assertEqual(decode_any(data, verify_proof), (rpc_id, message))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(FORMS, st.randoms(use_true_random=False))
    def test_decode(self, message: Message, rng: random.Random) -> None:
        """Both decoders accept the same bytes and refuse the same, however little is wrong with them."""
        data = bytearray(encode(RPC_ID, message))
        for _ in range(rng.choice((1, 1, 2))):
            data[rng.randrange(min(len(data), 20))] = rng.choice(
                (0, 0x18, 0x48, 0x58, 0x59, 0x82, rng.randrange(256))
            )
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        elif rng.random() < 0.3:
            data += rng.randbytes(rng.randrange(1, 5))
        self.assertEqual(outcome(decode, bytes(data)), outcome(decode_any, bytes(data)))

    def test_used(self) -> None:
        """The fast codec handles the messages of lookups and other frequent ones."""
        self.assertEqual(len(ENCODERS), 8)
        for message in ENCODERS:
            whole = WHOLE.get(message) or message(*[5] * len(attrs.fields(message)))
            data = encode_any(RPC_ID, whole)
            self.assertEqual(ENCODERS[message](RPC_ID, whole), data)
            self.assertEqual(DECODERS[data[10:13]](data, verify_proof), whole)
