from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact
from dht14.wire.messages import (
    Announce,
    Lapsed,
    LargeValue,
    Nodes,
    Outranked,
    Ping,
    Pong,
    Refused,
    Stored,
    Value,
    Wanted,
    Watching,
)
from dht14.wire.reply_filter import filters_of, without_private_contacts
from dht14.wire.schema import SCHEMA, MessageSchema

PUBLIC = Contact(1, ("198.51.100.1", 8000))
PRIVATE = [
    Contact(2 + i, (host, 80)) for i, host in enumerate(("127.0.0.1", "192.168.0.1", "::1", "fd00::1"))
]
EVERYBODY = (PRIVATE[0], PUBLIC, *PRIVATE[1:])


class PrivateContactTests(SynchronousTestCase):
    """Who may name private addresses."""

    def test_from_the_internet(self) -> None:
        """A node on the internet cannot name private addresses, in whatever reply."""
        host = "203.0.113.1"
        self.assertEqual(without_private_contacts(Nodes(EVERYBODY), host), Nodes((PUBLIC,)))
        self.assertEqual(without_private_contacts(Stored(EVERYBODY), host), Stored((PUBLIC,)))
        self.assertEqual(without_private_contacts(Refused(EVERYBODY), host), Refused((PUBLIC,)))
        self.assertEqual(without_private_contacts(Outranked(3, EVERYBODY), host), Outranked(3, (PUBLIC,)))
        self.assertEqual(
            without_private_contacts(Wanted(EVERYBODY, b"t" * 16), host), Wanted((PUBLIC,), b"t" * 16)
        )

    def test_from_nearby(self) -> None:
        """A node of a private network can, and every node can name public addresses."""
        for host in ("10.0.0.1", "127.0.0.1", "::1"):
            self.assertEqual(without_private_contacts(Nodes(EVERYBODY), host), Nodes(EVERYBODY))
        for reply in (Nodes((PUBLIC,)), Stored(()), Pong()):
            self.assertIs(without_private_contacts(reply, "203.0.113.1"), reply)

    def test_announced(self) -> None:
        """A node on the internet cannot announce a private address: the ANNOUNCE becomes a PING."""
        for contact in PRIVATE:
            announce = Announce(contact.address)
            self.assertEqual(without_private_contacts(announce, "203.0.113.1"), Ping())
            self.assertIs(without_private_contacts(announce, "10.0.0.1"), announce)
        self.assertEqual(
            without_private_contacts(Announce(PUBLIC.address), "203.0.113.1"), Announce(PUBLIC.address)
        )


@frozen
class Hint:
    """A message that is not in the schema yet."""

    hops: int
    nearest: tuple[Contact, ...]


@frozen
class Greeting:
    """One that names a host in a new form."""

    count: int
    host: str


@frozen
class Introduction:
    """One that names two things."""

    friends: tuple[Contact, ...]
    home: Address


@frozen
class Bag:
    """One with a field that may hold anything."""

    things: object


def schema_with(message: type) -> dict[int, MessageSchema]:
    """The schema with a new message in it."""
    return {**SCHEMA, 90: MessageSchema(message, ())}


class SchemaTests(SynchronousTestCase):
    """The schema decides which messages are filtered."""

    def test_derived(self) -> None:
        """All messages that name addresses are filtered, and no others."""
        self.assertEqual(
            set(filters_of(SCHEMA)),
            {Announce, Nodes, Lapsed, Value, LargeValue, Stored, Outranked, Refused, Wanted, Watching},
        )

    def test_new_message(self) -> None:
        """A new message that names contacts is filtered, although nobody wrote a filter for it."""
        without_private = filters_of(schema_with(Hint))[Hint]  # type: ignore[index]
        self.assertEqual(without_private(Hint(7, EVERYBODY)), Hint(7, (PUBLIC,)))

    def test_new_forms(self) -> None:
        """A message that names addresses in a new form is an error, never one that passes."""
        for message in (Greeting, Introduction, Bag):
            self.assertRaises(TypeError, filters_of, schema_with(message))
