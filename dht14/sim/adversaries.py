"""Hostile nodes: responders that replace the shipped one.

All else of a hostile node is shipped code: it has a valid identity, joins, keeps a table and is known to
others. The responder is made by a `stack.MakeResponder`; one with further arguments, its colluders for
example, is made with `functools.partial`.
"""

import random

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_REPLICATION, K
from dht14.node.network_clock import TOLERANCE
from dht14.node.ports import Respond
from dht14.node.responder import Responder
from dht14.records.record import version_at
from dht14.security.identity import PROOF_BYTES
from dht14.sim.host import PUZZLE
from dht14.wire.messages import FindNode, FindValue, Nodes, Offer, Request, Store, Stored, Value

DAY_MS = 86_400_000


class Silent(Responder):
    """Drops every request."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Do nothing."""


class Denier(Responder):
    """Acknowledges every STORE but keeps nothing, and answers FIND_VALUE with contacts only."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """As `Responder.answer`, except for values."""
        if isinstance(request, (Store, Offer)):
            respond(Stored(()))
        elif isinstance(request, FindValue):
            super().answer(FindNode(request.key), sender, now, respond)
        else:
            super().answer(request, sender, now, respond)


@define(eq=False)
class Liar(Responder):
    """Acknowledges every STORE, and names only contacts that do not exist: of the ones that it has made up,
    which have valid proofs of work, those nearest to the target."""

    _made_up: tuple[Contact, ...] = field(factory=lambda: _made_up(random.Random("a liar")))

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Respond to each lookup with made-up contacts."""
        if isinstance(request, (Store, Offer)):
            respond(Stored(()))
        elif isinstance(request, FindNode):
            respond(self._bogus(request.target))
        elif isinstance(request, FindValue):
            respond(self._bogus(request.key))
        else:
            super().answer(request, sender, now, respond)

    def _bogus(self, target: int) -> Nodes:
        return Nodes(tuple(sorted(self._made_up, key=lambda contact: contact.node_id ^ target)[:K]))


MADE_UP_CONTACTS = 512


def _made_up(rng: random.Random) -> tuple[Contact, ...]:
    proofs = (rng.randbytes(PROOF_BYTES) for _ in range(MADE_UP_CONTACTS))
    return tuple(
        Contact(
            PUZZLE.verify_proof(proof), (f"203.0.113.{rng.randint(1, 254)}", rng.randint(1024, 65_535)), proof
        )
        for proof in proofs
    )


class Forger(Denier):
    """A `Denier` that returns junk for every key, with the newest version that others accept, and claims to
    be among the nodes nearest to the key."""

    JUNK = b"This was never written."

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Respond to FIND_VALUE with junk."""
        if isinstance(request, FindValue):
            respond(Value(self._newest(), DAY_MS, MAX_REPLICATION, True, self.JUNK))
        else:
            super().answer(request, sender, now, respond)

    def _newest(self) -> int:
        """Return the newest version that every node accepts."""
        return version_at(self._time.now() + TOLERANCE)
