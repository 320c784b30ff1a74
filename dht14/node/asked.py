"""One call as a Deferred, for those who want nothing but its end."""

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.wire.messages import Reply


@define(eq=False)
class CallResult:
    """A `CallObserver`. Its outcome is who answered and what, or `CallFailed`."""

    outcome: "Deferred[tuple[Contact, Reply]]" = field(factory=Deferred, init=False)

    @property
    def reply(self) -> "Deferred[Reply]":
        """The outcome for who knows whom was asked. To be taken once."""
        return self.outcome.addCallback(lambda answer: answer[1])

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`."""
        self.outcome.callback((contact, reply))

    def call_slow(self, contact: Contact) -> None:
        """A slow answer is an answer."""

    def call_silent(self, contact: Contact) -> None:
        """A late answer is an answer."""

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self.outcome.errback(CallFailed())
