"""Attacks on real nodes, in a network of their own: strangers get no further than the border.

The figures of the issue are reached by scripts/bench/attacks.py; here the same is done in seconds.
"""

import os
import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.security.handshake import CHALLENGE_BYTES
from dht14.wire import api_messages
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import FindNode, Nodes
from tests.process import attacks
from tests.process.load import Load
from tests.process.nodes import DIFFICULTY, Network, Twistd
from tests.process.replies import Question
from tests.process.space import Forger, Line, Space
from tests.stranger import Stranger

FORGED_REPLIES = int(os.environ.get("CLOSED_FORGED_REPLIES", "20000"))


class AttackTestCase(SynchronousTestCase):
    """Some nodes in a namespace, each in a /24 of its own."""

    nodes = 3

    def setUp(self) -> None:
        self.addCleanup(Space.enter().leave)
        self.rng = random.Random(14)
        self.line, self.forger = Line(), Forger()
        self.addCleanup(self.line.close)
        self.addCleanup(self.forger.close)
        self.network = Network(Path(self.mktemp()).absolute(), hosts="198.18.{}.1")
        self.addCleanup(self.network.stop)
        self.town = [self.join() for _ in range(self.nodes)]
        for node in self.town[1:]:
            node.wait_for("Joined")

    def join(self) -> Twistd:
        seeds = tuple(self.network.processes[:1])
        unthrottled = {"DHT14_RATE_LIMITER_REQUESTS_PER_SECOND": "0"}
        return self.network.node(seeds=seeds, environment=unthrottled).wait_for_api()

    def load(self, seconds: float) -> Load:
        load = Load(self.town, seconds)
        self.addCleanup(load.stop)
        return load

    def stranger(self, number: int = 0) -> Stranger:
        node = self.town[0]
        stranger = Stranger("main", DIFFICULTY, node.p2p_port, node.host, f"198.19.{number}.1")
        self.addCleanup(stranger.close)
        return stranger

    def assert_unharmed(self) -> None:
        """No node has met a bug, and none knows anybody but the others."""
        for node in self.town:
            self.assertEqual(
                [event for event in node.events() if event["level"] in ("error", "critical")], []
            )
        asker = self.stranger(200)
        asker.answers_strangers = False
        _, reply = decode(asker.call(encode(b"12345678", FindNode(7))), attacks.PUZZLE.check)
        assert isinstance(reply, Nodes)
        named = {contact.address for contact in reply.contacts}
        self.assertEqual(named, attacks.addresses(self.town[1:]))


class DatagramTests(AttackTestCase):
    """What comes by UDP."""

    def test_forged_source(self) -> None:
        """Whose address is forged gets nothing but CHALLENGEs, and fewer bytes than were sent in his name."""
        node = self.town[0]
        seen = attacks.strangers(self.line, self.forger, node.at, 10_000, self.rng)
        self.assertEqual(set(seen.kinds), {0x42})
        self.assertEqual(seen.bytes_back, CHALLENGE_BYTES * seen.kinds[0x42])
        self.assertLessEqual(seen.kinds[0x42], 1_000)
        self.assert_unharmed()

    def test_forged_and_repeated(self) -> None:
        """Forged and repeated datagrams, from the right addresses and others, while clients put and get: nothing
        is lost, nothing is wrong, nobody becomes a contact, and the attacker gets nothing but CHALLENGEs."""
        load = self.load(4.0)
        nodes = attacks.addresses(self.town)
        seen = attacks.forgeries(self.line, self.forger, nodes, lambda: load.works, 20_000, self.rng)
        served = load.served()
        self.assertGreater(min(seen.forged, seen.replayed, len(served.gets)), 10)
        self.assertEqual(served.wrong, 0)
        self.assertLessEqual(set(seen.to_strangers), {0x42})
        self.assert_unharmed()

    def test_handshakes(self) -> None:
        """Many sessions from many addresses: the one that a contact has stays, and clients are served."""
        contact = self.stranger()
        contact.call(attacks.PING)
        contact.serve_for(0.5)
        node, load = self.town[0], self.load(2.0)
        callers = attacks.callers(100, self.rng)
        for caller in callers:
            self.addCleanup(caller.socket.close)
        fates = attacks.handshakes(node.at, callers, 500)
        self.assertGreater(fates["accepted"], 400)
        self.assertEqual(load.served().wrong, 0)
        self.assertTrue(attacks.is_in_session(contact))


class RepliesTests(SynchronousTestCase):
    """Answers to what a node asked, from others than whom it asked. In this process: see `replies`."""

    def test_forged(self) -> None:
        """Whatever others answer under the right id, from the right address or in a session of their own, the
        answer of the one who was asked counts, and nothing else."""
        question = Question()
        contacts = question.stack.table.contacts()
        back = question.forge(FORGED_REPLIES)
        self.assertNoResult(question.outcome)
        self.assertLessEqual(set(back), {0x42, 0x43, 0x44})
        self.assertLessEqual(back[0x43] + back[0x44], 4)
        self.assertEqual(question.stack.table.contacts(), contacts)
        self.assertEqual(question.stack.rpc.counters["answered"], 0)
        question.answer(b"the truth")
        self.assertEqual(self.successResultOf(question.outcome), b"the truth")


class ApiTests(AttackTestCase):
    """What comes by TCP, from clients who may come."""

    nodes = 1

    def test_half_open(self) -> None:
        """A thousand connections that begin a message and stop keep nobody from being served."""
        (node,) = self.town
        assert node.api_port is not None
        held = attacks.HalfOpen()
        self.addCleanup(held.close)
        held.open(("127.0.0.1", node.api_port), api_messages.encode_get(bytes(32))[:3], 1_000, hosts=10)
        with node.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
            self.assertEqual(client.get(bytes(32)), b"value")
