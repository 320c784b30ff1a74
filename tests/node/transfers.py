"""Transfers of values that end when the test says so."""

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.wire.messages import Reply

VALUE = bytes(range(250)) * 8


@define
class Transfers:
    """A `Bulk` whose transfers end when the test says so."""

    begun: "list[Deferred[bytes]]" = field(factory=list)

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        raise NotImplementedError("nothing is pushed here")

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        self.begun.append(Deferred())
        return self.begun[-1]
