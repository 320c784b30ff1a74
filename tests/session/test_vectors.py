"""The published vectors of a session. `python -m tests.session.test_vectors` writes them again."""

import json
import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, Puzzle
from dht14.security.prekey_clock import PrekeyClock
from dht14.session.acceptor import Limits
from dht14.session.encrypted import EncryptedLayer
from dht14.session.handshake import HELLO_HEAD_BYTES
from dht14.session.layer import Target
from dht14.session.plaintext import PlaintextLayer, PlaintextProbe
from tests import independent_peer
from tests.page import PAGE, section
from tests.session.pair import unknown_priority

PATH = Path(__file__).parent / "vectors" / "session.json"
NETWORK, DIFFICULTY, NOW = "vectors", 1, 1_700_000_000
PUZZLE = Puzzle(NETWORK, DIFFICULTY)
SETTING = {"network", "difficulty", "initiator", "responder", "seconds since 1970"}
INITIATOR, RESPONDER = ("192.0.2.1", 8000), ("198.51.100.2", 8001)
PING = bytes.fromhex("8248010203040506070801")
PONG = bytes.fromhex("8348010203040506070818401b0000018bcfe56800")


class Scripted(random.Random):
    """A random source that gives prepared bytes."""

    def script(self, *pieces: bytes) -> "Scripted":
        self._pieces = list(pieces)
        return self

    def randbytes(self, n: int) -> bytes:
        piece = self._pieces.pop(0)
        assert len(piece) == n
        return piece


def session_of(rng: Scripted, key: bytes) -> EncryptedLayer:
    identity = Identity.made_up(PUZZLE, Scripted().script(key))
    return EncryptedLayer(
        identity=identity,
        verify_proof=PUZZLE.verify_proof,
        rng=rng,
        limits=Limits(),
        is_contact=lambda node_id: False,
        priority_of=unknown_priority,
        hello_limiter=HelloLimiter(),
        now=NOW,
        prekey_clock=PrekeyClock(lambda: NOW),
    )


def made_here() -> dict[str, str]:
    """The vectors, made by the product."""
    fixed = {
        "private key of the initiator": bytes([1] * 32),
        "private key of the responder": bytes([2] * 32),
        "e": bytes([3] * 32),
        "private key of P": bytes([4] * 32),
        "cid_i": bytes([5] * 8),
        "cid_r": bytes([6] * 8),
    }
    secret = bytes([7] * 32)
    one = session_of(Scripted().script(secret, fixed["cid_i"], fixed["e"]), bytes([1] * 32))
    two = session_of(Scripted().script(secret, fixed["private key of P"], fixed["cid_r"]), bytes([2] * 32))
    (hello,) = one.reach(Target(RESPONDER, two._identity.node_id, False), PING, NOW)
    _, _, (challenge,) = two.received(hello, INITIATOR, NOW)
    _, _, (finish,) = one.received(challenge, RESPONDER, NOW)
    peer, request, _ = two.received(finish, INITIATOR, NOW)
    assert peer is not None and request == PING
    accept = peer.seal(PONG, NOW)
    answerer, response, _ = one.received(accept, RESPONDER, NOW)
    assert answerer is not None and response == PONG
    data = one.seal(answerer.contact, PING, NOW)
    assert data is not None
    assert two.received(data, INITIATOR, NOW)[1] == PING
    back = peer.seal(PONG, NOW)
    values = fixed | {
        "proof of the initiator": one._identity.proof,
        "proof of the responder": two._identity.proof,
        "HELLO": hello,
        "CHALLENGE": challenge,
        "FINISH": finish,
        "ACCEPT": accept,
        "first DATA of the initiator": data,
        "first DATA of the responder": back,
        "request": PING,
        "response": PONG,
    }
    text = {
        "network": NETWORK,
        "difficulty": str(DIFFICULTY),
        "initiator": "192.0.2.1 port 8000",
        "responder": "198.51.100.2 port 8001",
        "seconds since 1970": str(NOW),
    }
    return text | {name: value.hex() for name, value in values.items()} | made_there(values)


def made_there(values: dict[str, bytes]) -> dict[str, str]:
    """The intermediate values, made by the independent peer, which makes the same datagrams."""
    proofs = independent_peer.Proofs(NETWORK, DIFFICULTY)
    identity = independent_peer.Identity(proofs, values["private key of the initiator"])
    node_id = proofs.node_id(values["proof of the responder"])
    rng = Scripted().script(values["cid_i"], values["e"])
    caller = independent_peer.Initiator(proofs, identity, node_id, rng.randbytes, lambda: NOW)
    assert caller.hello == values["HELLO"]
    assert caller.finish(values["CHALLENGE"], PING) == values["FINISH"]
    assert caller.open(values["ACCEPT"]) == PONG
    assert caller.data(PING) == values["first DATA of the initiator"]
    assert caller.open(values["first DATA of the responder"]) == PONG
    made = {
        "node id of the initiator": identity.node_id,
        "node id of the responder": node_id,
        "E": values["HELLO"][9:41],
        "h": caller.keys.h,
        "prk": caller.keys.prk,
        "k_fin": caller.keys.fin,
        "k_ir": caller.k_ir,
        "k_ri": caller.k_ri,
        "sig_i": caller.signature,
    }
    return {name: value.hex() for name, value in made.items()}


def plaintext_vectors() -> dict[str, bytes]:
    """A datagram of each kind of the plaintext layer."""
    initiator, responder = (Identity.made_up(PUZZLE, Scripted().script(bytes([n] * 32))) for n in (1, 2))
    nonce = PING[2:10]
    layer = PlaintextLayer.of(responder.proof, PUZZLE.verify_proof)
    contact = Contact(responder.node_id, RESPONDER)
    sealed = PlaintextLayer.of(initiator.proof, PUZZLE.verify_proof).seal(contact, PING, NOW)
    assert sealed is not None
    probe = PlaintextProbe(initiator.proof, PUZZLE.verify_proof, random.Random(1)).ask(contact, nonce)
    _, _, (reply,) = layer.received(probe, INITIATOR, NOW)
    return {"payload": sealed, "probe": probe, "answer": reply}


class VectorTests(SynchronousTestCase):
    def test_session(self) -> None:
        """Product and independent peer make every byte of the published session."""
        self.assertEqual(made_here(), json.loads(PATH.read_text()))

    def test_page(self) -> None:
        """docs/protocol.md has every one of these values: the page alone is enough to write another
        implementation."""
        page = "".join(PAGE.read_text().split())
        for name, value in json.loads(PATH.read_text()).items():
            if name not in SETTING:
                shown = value[: 2 * HELLO_HEAD_BYTES] if name == "HELLO" else value
                self.assertIn(shown, page, name)

    def test_plaintext(self) -> None:
        """The page has a datagram of each kind of the plaintext layer."""
        text = "".join(section("2.0.6").split())
        for name, datagram in plaintext_vectors().items():
            self.assertIn(name + datagram.hex(), text)


if __name__ == "__main__":
    PATH.write_text(json.dumps(made_here(), indent=1) + "\n")
