"""Forged replies to a real node's question, in one process: a million would take a socket minutes."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import hash_id
from dht14.security.identity import Identity, Puzzle
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import build_stack
from dht14.wire.datagram import encode
from dht14.wire.messages import Nodes, Value
from tests.fakes import BEGINNING
from tests.independent_peer import Identity as IndependentIdentity
from tests.independent_peer import Initiator, Proofs, Responder
from tests.outcomes import value_of
from tests.stacks import stack_inputs

PUZZLE, PROOFS = Puzzle("forged", 0), Proofs("forged", 0)
HOLDER_AT, LIAR_AT, ELSEWHERE = ("192.0.2.1", 8000), ("198.51.100.2", 8000), ("203.0.113.3", 8000)
KEY = hash_id(b"an open key")


@define(eq=False)
class Question:
    """A node has asked the holder of a value for it; a liar has a session with the node, too, and sees
    all."""

    rng: random.Random = field(factory=lambda: random.Random(14))
    sent: list[tuple[bytes, Address]] = field(factory=list, init=False)
    stack: Stack = field(init=False)
    holder: Responder = field(init=False)
    liar: Initiator = field(init=False)
    outcome: "Deferred[bytes | None]" = field(init=False)
    rpc_id: bytes = field(init=False)
    heard: list[bytes] = field(factory=list, init=False)
    """What passed before: worth repeating."""

    def __attrs_post_init__(self) -> None:
        clock = Clock()
        clock.advance(BEGINNING)
        self.stack = build_stack(
            stack_inputs(
                Identity.made_up(PUZZLE, self.rng),
                clock,
                StackOptions(),
                verify_proof=PUZZLE.verify_proof,
                rng=self.rng,
                resolve=lambda host, port: succeed([]),
            )
        )
        transport: Any = self
        for protocol in (self.stack.rpc, self.stack.probe):
            protocol.transport = transport
            protocol.startProtocol()
        identities = [IndependentIdentity(PROOFS, self.rng.randbytes(32)) for _ in range(2)]
        self.liar = Initiator(PROOFS, identities[1], None, self.rng.randbytes, clock.seconds)
        (challenge,) = self.give(self.liar.hello, LIAR_AT)
        self.liar.open(self.give(self.liar.finish(challenge, b""), LIAR_AT)[0])
        self.holder = Responder(PROOFS, identities[0], self.rng.randbytes, clock.seconds)
        proof = identities[0].proof
        self.stack.table.confirmed(Contact(PUZZLE.verify_proof(proof), HOLDER_AT, proof), BEGINNING, 0.01)
        self.outcome = self.stack.node.get(KEY).addCallback(value_of)
        hello = self.sent.pop()[0]
        challenge = self.holder.challenge(hello)
        (finish,) = self.give(challenge, HOLDER_AT)
        self.rpc_id = self.holder.finish(finish, ("192.0.2.9", 1))[2:10]
        self.heard += [challenge, finish, self.liar.hello, self.liar.last_finish]

    def write(self, datagram: bytes, address: Address) -> None:
        """As a transport."""
        self.sent.append((datagram, address))

    def give(self, datagram: bytes, address: Address) -> list[bytes]:
        """Let the node receive a datagram; what it sends."""
        before = len(self.sent)
        self.stack.rpc.datagramReceived(datagram, address)
        return [datagram for datagram, _ in self.sent[before:]]

    def forgeries(self) -> Iterator[tuple[bytes, Address]]:
        """Answers that the holder did not give."""
        rng, cid = self.rng, self.holder.initiator_cid
        turned_hostile = (Value(1 << 50, 60_000, 8, True, b"a lie"), Nodes(()))
        while True:
            kind, counter, body = rng.choice(b"BDE"), rng.randrange(1 << 10), rng.randbytes(60)
            forged = bytes([kind]) + cid + counter.to_bytes(8, "big") + body
            yield forged, HOLDER_AT
            yield forged, ELSEWHERE
            yield bytes([kind]) + rng.randbytes(76), HOLDER_AT
            yield self.liar.data(encode(self.rpc_id, rng.choice(turned_hostile))), LIAR_AT
            yield self.liar.data(encode(rng.randbytes(8), rng.choice(turned_hostile))), LIAR_AT
            yield rng.choice(self.heard), rng.choice((HOLDER_AT, LIAR_AT, ELSEWHERE))

    def forge(self, count: int) -> Counter[int]:
        """Give the node `count` of them; return the first bytes of what it sent to unknown peers
        meanwhile."""
        self.sent.clear()
        back: Counter[int] = Counter()
        for number, (datagram, address) in enumerate(self.forgeries()):
            if number == count:
                return back
            back.update(reply[0] for reply in self.give(datagram, address))
            self.sent.clear()
        return back

    def answer(self, value: bytes) -> None:
        """Let the holder answer at last."""
        version = int(BEGINNING * 1000) << 16
        reply = self.holder.answer(encode(self.rpc_id, Value(version, 60_000, 8, True, value)))
        self.give(reply, HOLDER_AT)
