"""Two nodes with encrypted sessions, and a wire between them that a test controls."""

import random
from collections.abc import Callable

from attrs import define, field

from dht14.kademlia.contact import Address, Contact
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, Puzzle
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.shares import Priority
from dht14.session.acceptor import Limits
from dht14.session.encrypted import EncryptedLayer
from dht14.session.layer import Datagrams, Peer, Target

PUZZLE = Puzzle("test", 0)
BEGINNING = 1_700_000_000.0


def unknown_priority(address: Address) -> Priority:
    """Nothing is known of any address."""
    return Priority.UNKNOWN


EVERYTHING_PASSES: "Callable[[bytes], bool]" = lambda datagram: True


@define(eq=False)
class Side:
    """One node: its identity, its session layer, and what it received."""

    number: int
    address: Address
    limits: Limits = field(factory=Limits)
    contacts: set[Contact] = field(factory=set)
    known: dict[Address, Priority] = field(factory=dict)
    now: float = BEGINNING
    """Its clock."""
    wrong_by: float = 0.0
    """Seconds by which the time of day of its host is ahead of its clock."""
    received: list[bytes] = field(factory=list)
    peer: Peer | None = None
    """The sender of the latest payload."""
    lives: int = 0
    identity: Identity = field(init=False)
    layer: EncryptedLayer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.identity = Identity.made_up(PUZZLE, random.Random(self.number))
        self.begin()

    def begin(self) -> None:
        """Restart without any memory."""
        self.lives += 1
        rng = random.Random(f"{self.number}/{self.lives}")
        verify_proof, is_contact = PUZZLE.verify_proof, self.contacts.__contains__
        self.layer = EncryptedLayer(
            identity=self.identity,
            verify_proof=verify_proof,
            rng=rng,
            limits=self.limits,
            is_contact=is_contact,
            priority_of=self.priority_of,
            hello_limiter=HelloLimiter(),
            now=self.now,
            prekey_clock=PrekeyClock(self.wall),
        )

    def priority_of(self, address: Address) -> Priority:
        return self.known.get(address, Priority.UNKNOWN)

    def wall(self) -> float:
        """The time of day of its host."""
        return self.now + self.wrong_by

    @property
    def contact(self) -> Contact:
        return Contact(self.identity.node_id, self.address, self.identity.proof)

    def take(self, datagram: bytes, source: Address) -> Datagrams:
        """Receive a datagram, and return what to send back."""
        peer, payload, replies = self.layer.received(datagram, source, self.now)
        if peer is not None:
            self.peer = peer
            if payload:
                self.received.append(payload)
        return replies


@define(eq=False)
class Pair:
    """Delivers datagrams between two sides at once, but for those that are lost."""

    one: Side = field(factory=lambda: Side(1, ("192.0.2.1", 8000)))
    two: Side = field(factory=lambda: Side(2, ("198.51.100.2", 8000)))
    passes: Callable[[bytes], bool] = EVERYTHING_PASSES
    wire: list[bytes] = field(factory=list)
    """Every datagram, lost or not."""

    def other(self, side: Side) -> Side:
        return self.two if side is self.one else self.one

    def carry(self, side: Side, datagrams: Datagrams) -> None:
        """Deliver these datagrams of `side`, and all that follow from them."""
        on_the_way = [(side, datagram) for datagram in datagrams]
        while on_the_way:
            source, datagram = on_the_way.pop(0)
            self.wire.append(datagram)
            if self.passes(datagram):
                target = self.other(source)
                replies = target.take(datagram, source.address)
                on_the_way += [(target, reply) for reply in replies]

    def send(self, side: Side, payload: bytes, by_address: bool = False) -> None:
        """Let one side send a payload to the other for the first time."""
        self.carry(side, self.to_send(side, payload, by_address))

    def to_send(self, side: Side, payload: bytes, by_address: bool = False) -> Datagrams:
        contact = self.other(side).contact
        datagram = side.layer.seal(contact, payload, side.now)
        if datagram is not None:
            return (datagram,)
        return side.layer.reach(Target(contact.address, contact.node_id, by_address), payload, side.now)

    def send_again(self, side: Side, payload: bytes, by_address: bool = False) -> None:
        """Let one side resend a payload after a soft timeout."""
        self.wait(0.25)
        contact = self.other(side).contact
        again = side.layer.resend(Target(contact.address, contact.node_id, by_address), payload, side.now)
        self.carry(side, again)

    def answer(self, side: Side, payload: bytes) -> None:
        """Let one side answer its latest payload."""
        assert side.peer is not None
        self.carry(side, [side.peer.seal(payload, side.now)])

    def exchange(self, side: Side, payload: bytes = b"request") -> bool:
        """Exchange a request and its answer, and return whether both arrived."""
        other = self.other(side)
        asked, answered = len(other.received), len(side.received)
        self.send(side, payload)
        if other.received[asked:] != [payload]:
            return False
        self.answer(other, b"answer to " + payload)
        return side.received[answered:] == [b"answer to " + payload]

    def wait(self, seconds: float) -> None:
        self.one.now += seconds
        self.two.now += seconds

    def kinds(self) -> bytes:
        """The first bytes of all datagrams on the wire."""
        return bytes(datagram[0] for datagram in self.wire)
