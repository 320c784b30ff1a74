"""The independent peer and this implementation understand each other."""

import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.security.identity import Identity
from dht14.session.layer import Target
from dht14.wire.datagram import encode
from dht14.wire.messages import Describe, Described, Nodes
from tests import independent_peer
from tests.session.pair import BEGINNING, PUZZLE, Side

REQUEST, RESPONSE = b"request", b"response"
OUR_ADDRESS, ITS_ADDRESS = ("192.0.2.1", 8000), ("198.51.100.2", 8000)


def clock() -> float:
    return BEGINNING


class IndependentPeerTests(SynchronousTestCase):
    """Whole sessions between the two, from either side."""

    def setUp(self) -> None:
        self.proofs = independent_peer.Proofs(PUZZLE.network, PUZZLE.difficulty)
        self.rng = random.Random(1)
        self.identity = independent_peer.Identity(self.proofs, self.rng.randbytes(32))
        self.ours = Side(1, OUR_ADDRESS)

    def test_proofs(self) -> None:
        """Both find the same proof for a key, and the same id in it."""
        proofs = independent_peer.Proofs("another", 2)
        puzzle = type(PUZZLE)("another", 2)
        ours = Identity.made_up(puzzle, self.rng)
        self.assertEqual(proofs.search(ours.proof[:32]), ours.proof)
        self.assertEqual(proofs.node_id(ours.proof), ours.node_id.to_bytes(32, "big"))
        self.assertEqual(puzzle.verify_proof(ours.proof), ours.node_id)

    def test_contacts(self) -> None:
        """It reads every contact of a NODES, of either family, and computes the same ids."""
        identities = [Identity.made_up(PUZZLE, self.rng) for _ in range(10)]
        hosts = [f"192.0.2.{n}" if n % 3 else f"2001:db8::{n}" for n in range(1, 11)]
        contacts = [
            Contact(one.node_id, (host, 8000 + n), one.proof)
            for n, (one, host) in enumerate(zip(identities, hosts, strict=True))
        ]
        found = independent_peer.contacts_in(encode(bytes(8), Nodes(tuple(contacts))))
        expected = {(one.proof, *one.address) for one in contacts}
        self.assertEqual((set(found), len(found)), (expected, 10))
        ids = {int.from_bytes(self.proofs.node_id(proof), "big") for proof, _, _ in found}
        self.assertEqual(ids, {one.node_id for one in contacts})

    def test_software(self) -> None:
        """It reads what a node runs out of a DESCRIBED."""
        self.assertEqual(
            independent_peer.read_message(encode(bytes(8), Described(b"dht14/0.1.0"))),
            [bytes(8), 74, b"dht14/0.1.0"],
        )
        self.assertEqual(independent_peer.write_message([bytes(8), 11]), encode(bytes(8), Describe()))

    def test_it_calls(self) -> None:
        """It begins a session with the product, by id or by address, and both send in it."""
        for sought in (None, self.ours.identity.node_id.to_bytes(32, "big")):
            caller = independent_peer.Initiator(self.proofs, self.identity, sought, self.rng.randbytes, clock)
            (challenge,) = self.ours.take(caller.hello, ITS_ADDRESS)
            self.ours.take(caller.finish(challenge, REQUEST), ITS_ADDRESS)
            peer = self.ours.peer
            assert peer is not None
            self.assertEqual(caller.open(peer.seal(RESPONSE, self.ours.now)), RESPONSE)
            self.assertEqual(caller.observed[-6:], bytes([198, 51, 100, 2]) + (8000).to_bytes(2, "big"))
            for _ in range(3):
                self.ours.take(caller.data(REQUEST), ITS_ADDRESS)
                self.assertEqual(caller.open(peer.seal(RESPONSE, self.ours.now)), RESPONSE)
            self.assertEqual(peer.contact.proof, self.identity.proof)
            self.assertEqual(peer.contact.node_id.to_bytes(32, "big"), self.identity.node_id)
        self.assertEqual(self.ours.received, [REQUEST] * 8)

    def test_we_call(self) -> None:
        """The product begins a session with it, by id or by address, and both send in it."""
        its_id = int.from_bytes(self.identity.node_id, "big")
        for sought in (None, its_id):
            ours = Side(1, OUR_ADDRESS)
            called = independent_peer.Responder(self.proofs, self.identity, self.rng.randbytes, clock)
            (hello,) = ours.layer.reach(Target(ITS_ADDRESS, sought, False), REQUEST, ours.now)
            (finish,) = ours.take(called.challenge(hello), ITS_ADDRESS)
            self.assertEqual(called.finish(finish, OUR_ADDRESS), REQUEST)
            self.assertEqual(called.initiator, ours.identity.node_id.to_bytes(32, "big"))
            ours.take(called.answer(RESPONSE), ITS_ADDRESS)
            ours.take(called.answer(RESPONSE), ITS_ADDRESS)
            peer = ours.peer
            assert peer is not None
            data = ours.layer.seal(peer.contact, REQUEST, ours.now)
            assert data is not None
            self.assertEqual((data[:1], called.open(data)), (b"\x45", REQUEST))
            ours.take(called.answer(RESPONSE), ITS_ADDRESS)
            self.assertEqual(ours.received, [RESPONSE] * 3)
