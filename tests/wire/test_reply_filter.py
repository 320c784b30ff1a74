from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact
from dht14.wire.messages import (
    SCHEMA,
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
)
from dht14.wire.reply_filter import without_private, without_private_contacts

PUBLIC = Contact(1, ("198.51.100.1", 8000))
PRIVATE = [
    Contact(2 + i, (host, 80)) for i, host in enumerate(("127.0.0.1", "192.168.0.1", "::1", "fd00::1"))
]
EVERYBODY = (PRIVATE[0], PUBLIC, *PRIVATE[1:])


class BelievableTests(SynchronousTestCase):
    """Who may tell us of whom."""

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
        """A node of a private network can, and everybody can name public ones."""
        for host in ("10.0.0.1", "127.0.0.1", "::1"):
            self.assertEqual(without_private_contacts(Nodes(EVERYBODY), host), Nodes(EVERYBODY))
        for reply in (Nodes((PUBLIC,)), Stored(()), Pong()):
            self.assertIs(without_private_contacts(reply, "203.0.113.1"), reply)

    def test_announced(self) -> None:
        """What a node on the internet says of itself counts no more: without the address it is a PING."""
        for contact in PRIVATE:
            announce = Announce(contact.address)
            self.assertEqual(without_private_contacts(announce, "203.0.113.1"), Ping())
            self.assertIs(without_private_contacts(announce, "10.0.0.1"), announce)
        self.assertEqual(
            without_private_contacts(Announce(PUBLIC.address), "203.0.113.1"), Announce(PUBLIC.address)
        )


@frozen
class Greeting:
    """A message that is not in the schema yet."""

    count: int
    host: str


@frozen
class Introduction:
    """Another one."""

    friends: tuple[Contact, ...]
    home: Address


class SchemaTests(SynchronousTestCase):
    """Which messages are looked at."""

    def test_derived(self) -> None:
        """All that name addresses are, as the schema has them."""
        naming = {message for message, _ in SCHEMA.values() if without_private(message)}
        self.assertEqual(
            naming, {Announce, Nodes, Lapsed, Value, LargeValue, Stored, Outranked, Refused, Wanted}
        )

    def test_new_forms(self) -> None:
        """A message that names addresses in a new form is an error, never one that passes."""
        for message in (Greeting, Introduction):
            self.assertRaises(TypeError, without_private, message)
