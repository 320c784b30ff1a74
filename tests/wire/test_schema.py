import attrs
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import ID_SPACE
from dht14.kademlia.parameters import MAX_DATAGRAM, MAX_INLINE_VALUE, MAX_REPLICATION, K
from dht14.records.store import Refusal
from dht14.session.handshake import ACCEPT_PREFIX_BYTES, AEAD_TAG_BYTES, HEAD_BYTES
from dht14.wire.contacts import first_fitting
from dht14.wire.datagram import RPC_ID_BYTES, encode
from dht14.wire.messages import (
    FINGERPRINT_BITS,
    MAX_TTL_MS,
    MAX_VALUE_AND_CONTACTS,
    MAX_VERSION,
    Lapsed,
    Message,
    Nodes,
    Outranked,
    Pong,
    Refused,
    Reply,
    Request,
    Store,
    Stored,
    Value,
)
from dht14.wire.schema import REPLIES, REPLIES_TO, SCHEMA, MessageSchema, replies_in
from tests.fakes import contact_at

LARGEST_OVERHEAD = HEAD_BYTES + ACCEPT_PREFIX_BYTES + AEAD_TAG_BYTES
"""The bytes around a message in an ACCEPT, which has more of them than DATA or a plaintext datagram."""
FAR_CONTACTS = tuple(
    contact_at(ID_SPACE - 1 - n, ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65535)) for n in range(K)
)
LARGEST_STORE = Store(
    ID_SPACE - 1,
    MAX_VERSION,
    MAX_TTL_MS,
    MAX_REPLICATION,
    (1 << FINGERPRINT_BITS) - 1,
    bytes(MAX_INLINE_VALUE),
    True,
)


def beside(length: int) -> tuple[Contact, ...]:
    """The contacts that fit beside a value of this length."""
    return first_fitting(FAR_CONTACTS, MAX_VALUE_AND_CONTACTS - length)


ids = st.integers(0, ID_SPACE - 1)


@attrs.frozen
class Hint:
    """A message that is not in the schema."""

    contacts: tuple[Contact, ...]


class SchemaTests(SynchronousTestCase):
    def test_complete(self) -> None:
        """Every message has one code, and the code distinguishes requests from replies."""
        messages = [entry.message for entry in SCHEMA.values()]
        self.assertEqual(set(messages), {*Request.__args__, *Reply.__args__})
        self.assertEqual(len(messages), len(set(messages)))
        self.assertEqual(set(REPLIES), set(Reply.__args__))
        for code, entry in SCHEMA.items():
            self.assertEqual(code >= 64, entry.message in REPLIES)

    def test_replies(self) -> None:
        """Every request names its replies, and every reply answers a request."""
        self.assertEqual(set(REPLIES_TO), set(Request.__args__))
        self.assertEqual({reply for replies in REPLIES_TO.values() for reply in replies}, set(REPLIES))

    def test_new_message(self) -> None:
        """A new reply is known as a reply at once; a request without replies cannot even be imported."""
        new = {**SCHEMA, 90: MessageSchema(Hint, SCHEMA[65].shapes[:1])}  # type: ignore[arg-type]
        self.assertEqual(set(replies_in(new)), {*REPLIES, Hint})
        for code, replies in ((60, ()), (90, (Pong,))):
            wrong = MessageSchema(Hint, SCHEMA[65].shapes[:1], replies)  # type: ignore[arg-type]
            self.assertRaises(TypeError, replies_in, {**SCHEMA, code: wrong})

    def test_fields(self) -> None:
        """Every field of a message has a shape in the schema."""
        for message, shapes, _ in SCHEMA.values():
            self.assertEqual(len(attrs.fields(message)), len(shapes), message)

    def test_largest_fit(self) -> None:
        """The largest of each message fits one datagram."""
        largest: list[Message] = [
            LARGEST_STORE,
            Value(
                MAX_VERSION,
                MAX_TTL_MS,
                MAX_REPLICATION,
                True,
                bytes(MAX_INLINE_VALUE),
                beside(MAX_INLINE_VALUE),
            ),
            Value(MAX_VERSION, MAX_TTL_MS, MAX_REPLICATION, True, bytes(300), beside(300)),
            Stored(FAR_CONTACTS, True, MAX_REPLICATION),
            Refused(FAR_CONTACTS, Refusal.INVALID, True),
            Nodes(FAR_CONTACTS),
            Lapsed(FAR_CONTACTS, 2, MAX_VERSION),
            Outranked(MAX_VERSION, FAR_CONTACTS),
        ]
        for message in largest:
            payload = encode(bytes(RPC_ID_BYTES), message)
            self.assertLessEqual(len(payload), MAX_DATAGRAM - LARGEST_OVERHEAD, message)

    def test_values_are_not_shown(self) -> None:
        """The text of a message, which a log may contain, has no value."""
        for message in (Store(5, 1, 1, 1, 1, b"secret"), Value(1, 1, 1, True, b"secret")):
            self.assertNotIn("secret", repr(message))

    def test_frozen(self) -> None:
        """Messages are values: equal by content, never changed."""
        self.assertEqual(Pong(), Pong())
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, LARGEST_STORE, "key", 1)
