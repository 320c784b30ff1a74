"""Attacks on real nodes, in a network of their own: unknown peers get no further than the border.

The figures of the issue are reached by scripts/bench/attacks.py; here the same is done in seconds.
"""

import os
import random
import socket
import ssl
import time
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address
from dht14.security.hello_limiter import HELLOS_PER_ADDRESS, HELLOS_PER_HOST
from dht14.session.handshake import CHALLENGE_BYTES
from dht14.wire import api_messages
from dht14.wire.datagram import encode
from dht14.wire.messages import Announce
from tests.independent_peer import IndependentPeer
from tests.process import attacks
from tests.process.load import Load
from tests.process.nodes import DIFFICULTY, Network, Twistd, eventually
from tests.process.replies import Question
from tests.process.space import Forger, Line, Segment, Space

FORGED_REPLIES = int(os.environ.get("CLOSED_FORGED_REPLIES", "20000"))


TLS_1_3 = 0x0304


def tls_version(payload: bytes) -> int | None:
    """The version in a ServerHello; None where this is none. Its extension 43 has the true one."""
    if len(payload) < 44 or payload[0] != 22 or payload[5] != 2:
        return None
    at = 44 + payload[43] + 3
    end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
    at += 2
    while at < end:
        kind, length = (
            int.from_bytes(payload[at : at + 2], "big"),
            int.from_bytes(payload[at + 2 : at + 4], "big"),
        )
        if kind == 43:
            return int.from_bytes(payload[at + 4 : at + 6], "big")
        at += 4 + length
    return int.from_bytes(payload[9:11], "big")


class AttackTestCase(SynchronousTestCase):
    """Some nodes in a namespace, each in a /24 of its own."""

    nodes = 3
    runs_alone = True
    """It counts the gets that a client completes meanwhile."""

    def setUp(self) -> None:
        self.addCleanup(Space.enter().leave)
        self.rng = random.Random(14)
        self.line, self.forger = Line(), Forger()
        self.addCleanup(self.line.close)
        self.addCleanup(self.forger.close)
        self.network = Network(Path(self.mktemp()).absolute(), hosts="198.18.{}.1")
        self.addCleanup(self.network.stop)
        self.cluster = [self.join() for _ in range(self.nodes)]
        for node in self.cluster[1:]:
            node.wait_for("Joined")

    def join(self) -> Twistd:
        seeds = tuple(self.network.processes[:1])
        unthrottled = {"DHT14_RATE_LIMITER_REQUESTS_PER_SECOND": "0"}
        return self.network.node(seeds=seeds, environment=unthrottled).wait_for_api()

    def load(self, seconds: float) -> Load:
        load = Load(self.cluster, seconds)
        self.addCleanup(load.stop)
        return load

    def peer(self, number: int = 0) -> IndependentPeer:
        node = self.cluster[0]
        peer = IndependentPeer("main", DIFFICULTY, node.p2p_port, node.host, f"198.19.{number}.1")
        self.addCleanup(peer.close)
        return peer

    def assert_unharmed(self) -> None:
        """No node has met a bug, and none knows anybody but the others."""
        for node in self.cluster:
            self.assertEqual(
                [event for event in node.events() if event["level"] in ("error", "critical")], []
            )
        asker = self.peer(200)
        asker.answers_hellos = False
        named = {(host, port) for _, host, port in asker.find_node(bytes(31) + b"\7")}
        # Who is just suspected to be dead is not named.
        self.assertLessEqual(named, attacks.addresses(self.cluster[1:]))


class DatagramTests(AttackTestCase):
    """What comes by UDP."""

    def test_forged_source(self) -> None:
        """Whose address is forged gets nothing but CHALLENGEs, and fewer bytes than were sent in his name."""
        node = self.cluster[0]
        seen = attacks.unknown_peers(self.line, self.forger, node.at, 10_000, self.rng)
        self.assertEqual(set(seen.kinds), {0x42})
        self.assertEqual(seen.bytes_back, CHALLENGE_BYTES * seen.kinds[0x42])
        self.assertLessEqual(seen.kinds[0x42], 1_000)
        self.assert_unharmed()

    def test_forged_and_repeated(self) -> None:
        """Forged and repeated datagrams, from the right addresses and others, while clients put and get:
        nothing is lost, nothing is wrong, nobody becomes a contact, and the attacker gets nothing but
        CHALLENGEs."""
        load = self.load(4.0)
        nodes = attacks.addresses(self.cluster)
        seen = attacks.forgeries(self.line, self.forger, nodes, lambda: load.works, 20_000, self.rng)
        served = load.served()
        self.assertGreater(min(seen.forged, seen.replayed, len(served.gets)), 10)
        self.assertEqual(served.wrong, 0)
        self.assertLessEqual(set(seen.to_unknown_peers), {0x42})
        self.assert_unharmed()

    def test_handshakes(self) -> None:
        """Many sessions from many addresses: the one that a contact has stays, and clients are served."""
        contact = self.peer()
        contact.call(attacks.PING)
        contact.serve_for(0.5)
        node, load = self.cluster[0], self.load(2.0)
        callers = attacks.callers(100, self.rng)
        for caller in callers:
            self.addCleanup(caller.socket.close)
        fates = attacks.handshakes(node.at, callers, 500)
        self.assertGreater(fates["accepted"], 400)
        self.assertEqual(load.served().wrong, 0)
        self.assertTrue(attacks.is_in_session(contact))


class ReflectionTests(AttackTestCase):
    """A node that others let in, and that would have them attack somebody else."""

    def to_victim(self) -> "Counter[Address]":
        """How many datagrams went to the victim, by port."""
        seen = (one.target for one in self.line.datagrams() if one.target[0] == attacks.VICTIM[0])
        return Counter(seen)

    def assert_bounded(self, sent: "Counter[Address]", nodes: int) -> None:
        self.assertTrue(sent)
        self.assertLessEqual(max(sent.values()), HELLOS_PER_ADDRESS * nodes)
        self.assertLessEqual(sent.total(), HELLOS_PER_HOST * nodes)

    def test_announced(self) -> None:
        """Who says of ever other addresses of a victim that they are its own has few HELLOs sent there."""
        liar = self.peer()
        liar.answers_hellos = False
        liar.call(attacks.PING)
        for port in range(1_024, 2_024):
            announce = Announce((attacks.VICTIM[0], port))
            liar.send(liar.session.data(encode(port.to_bytes(8, "big"), announce)))
        sent = eventually(self.to_victim, "a datagram to the victim")
        time.sleep(2.0)
        self.assert_bounded(sent + self.to_victim(), nodes=1)

    def test_named(self) -> None:
        """Who names nodes at ever other addresses of a victim, to all that look for somebody, does not
        either; and clients are served."""
        node = self.cluster[0]
        liar = attacks.Liar("main", DIFFICULTY, node.p2p_port, node.host, "198.19.1.1")
        self.addCleanup(liar.close)
        liar.call(attacks.PING)
        liar.serve_for(1.0)
        load = self.load(4.0)
        while load.works:
            liar.serve_for(0.1)
        self.assertEqual(load.served().wrong, 0)
        self.assert_bounded(self.to_victim(), self.nodes)


class LineTests(AttackTestCase):
    """What somebody sees who hears every packet between nodes."""

    def test_nothing_in_clear(self) -> None:
        """Neither keys nor values, large ones included, nor who begins a session; and every TLS is 1.3."""
        values = {self.rng.randbytes(32): self.rng.randbytes(size) for size in (50, 900, 5_000, 60_000) * 3}
        with self.cluster[1].client() as one, self.cluster[2].client() as other:
            for key, value in values.items():
                self.assertTrue(one.put(key, value))
                self.assertEqual(other.get(key), value)
        # One that calls and is never called: all that it says of itself is in its FINISH.
        caller = self.peer()
        caller.answers_hellos = False
        caller.call(attacks.PING)
        nodes = attacks.addresses(self.cluster)
        seen = [packet for packet in self.line.seen() if {packet.source, packet.target} & nodes]
        secrets = [
            *values,
            *(value[at : at + 16] for value in values.values() for at in (0, len(value) // 2)),
        ]
        secrets += [caller.identity.node_id, caller.identity.proof[:32]]
        for packet in seen:
            self.assertFalse([secret for secret in secrets if secret in packet.payload])
        versions = [tls_version(packet.payload) for packet in seen if isinstance(packet, Segment)]
        self.assertEqual(set(versions) - {None}, {TLS_1_3})
        self.assertGreater(sum(len(packet.payload) for packet in seen), sum(map(len, values.values())))

    def test_old_tls(self) -> None:
        """Whoever offers older versions alone is not answered but with an alert."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(self.cluster[0].at, 5) as plain:
            self.assertRaises(ssl.SSLError, context.wrap_socket, plain)


class BulkTests(AttackTestCase):
    """What comes to the port of the bulk channel."""

    nodes = 2

    def test_half_open(self) -> None:
        """Many connections that begin a handshake and stop: all are cut in time, and large values pass."""
        held = attacks.HalfOpen()
        self.addCleanup(held.close)
        held.open(self.cluster[0].at, b"\x16\x03\x01", 300, hosts=10)
        value = self.rng.randbytes(20_000)
        until = time.monotonic() + 20
        held.trickle(lambda: time.monotonic() < until, every=1.0)
        self.assertEqual(len(held.sockets), 0)
        with self.cluster[0].client() as one, self.cluster[1].client() as other:
            self.assertTrue(one.put(bytes(32), value))
            self.assertEqual(other.get(bytes(32)), value)


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
        self.assertEqual(question.stack.rpc.metrics.replies, 0)
        question.answer(b"the truth")
        self.assertEqual(self.successResultOf(question.outcome), b"the truth")


class ApiTests(AttackTestCase):
    """What comes by TCP, from clients who may come."""

    nodes = 1

    def test_half_open(self) -> None:
        """A thousand connections that begin a message and stop keep nobody from being served."""
        (node,) = self.cluster
        assert node.api_port is not None
        held = attacks.HalfOpen()
        self.addCleanup(held.close)
        held.open(("127.0.0.1", node.api_port), api_messages.encode_get(bytes(32))[:3], 1_000, hosts=10)
        with node.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
            self.assertEqual(client.get(bytes(32)), b"value")
