"""How hostile nodes conduct themselves: responders that take the place of the shipped one.

Everything else of a hostile node is the shipped code: it has a valid identity, joins, keeps a table and is
known to others. A conduct is whatever `net.stack.MakeResponder` describes; one that needs to know more than
that, of its accomplices say, is made with `functools.partial`.
"""

import random

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_REPLICATION, K
from dht14.node.network_time import TOLERANCE
from dht14.node.responder import Respond, Responder
from dht14.records.record import version_at
from dht14.security.identity import PROOF_BYTES
from dht14.sim.host import PUZZLE
from dht14.wire.messages import FindNode, FindValue, Nodes, Offer, Request, Store, Stored, Value

DAY_MS = 86_400_000


class Silent(Responder):
    """Drops every request."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Nothing."""


class Denier(Responder):
    """Gives receipts for what it throws away, and has nothing for whoever asks for a value."""

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """As `Responder.answer`, but for values."""
        if isinstance(request, (Store, Offer)):
            respond(Stored(()))
        elif isinstance(request, FindValue):
            super().answer(FindNode(request.key), sender, now, respond)
        else:
            super().answer(request, sender, now, respond)


@define(eq=False)
class Liar(Responder):
    """A denier that knows only nodes that do not exist, but whose proofs of work do: the nearest of those
    that it has made up."""

    _made_up: tuple[Contact, ...] = field(factory=lambda: _made_up(random.Random("a liar")))

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Bogus contacts for whatever is looked for."""
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
        Contact(PUZZLE.check(proof), (f"203.0.113.{rng.randint(1, 254)}", rng.randint(1024, 65_535)), proof)
        for proof in proofs
    )


class Forger(Denier):
    """A denier that has a value for every key: junk, of the newest version that anybody believes, and it
    says that it is one of the nodes nearest to the key."""

    JUNK = b"This was never written."

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Junk for every key."""
        if isinstance(request, FindValue):
            respond(Value(self._newest(), DAY_MS, MAX_REPLICATION, True, self.JUNK))
        else:
            super().answer(request, sender, now, respond)

    def _newest(self) -> int:
        """The newest version that everybody believes."""
        return version_at(self._time.now() + TOLERANCE)
