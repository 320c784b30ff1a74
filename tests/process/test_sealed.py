"""The independent peer against real nodes: they do what docs/protocol.md says."""

import contextlib
import os
import socket
import threading
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.independent_peer import (
    PING,
    IndependentPeer,
    is_pong,
    write_message,
)
from tests.process.nodes import DIFFICULTY, Network, eventually

SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
OUR_PING = write_message([b"our ping", PING])


class SealedTests(SynchronousTestCase):
    """One real node, and unknown peers."""

    def setUp(self) -> None:
        self.network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(self.network.stop)
        self.node = self.network.node().wait_until_listening()

    def peer(self) -> IndependentPeer:
        peer = IndependentPeer("main", DIFFICULTY, self.node.p2p_port)
        self.addCleanup(peer.close)
        return peer

    def named(self, asker: IndependentPeer, sought: IndependentPeer) -> bool:
        """Whether the node names `sought` to a caller."""
        found = asker.find_node(sought.identity.node_id)
        return sought.identity.proof in [proof for proof, _, _ in found]

    def test_calls(self) -> None:
        """A session is begun, and many requests are answered in it; then another one takes its place."""
        peer = self.peer()
        for _ in range(3):
            self.assertTrue(is_pong(peer.call(OUR_PING), OUR_PING))
            for _ in range(5):
                self.assertTrue(is_pong(peer.call_again(OUR_PING), OUR_PING))

    def test_becomes_a_contact(self) -> None:
        """A caller that answers a probe from another port becomes a contact, and is named to others."""
        peer, asker = self.peer(), self.peer()
        asker.answers_hellos = False
        peer.call(OUR_PING)

        def is_named() -> bool:
            peer.serve_for(0.2)
            return self.named(asker, peer)

        eventually(is_named, "the peer to be a contact")
        self.assertTrue(peer.asked_from and self.node.p2p_port not in peer.asked_from)

    def test_cannot_be_called(self) -> None:
        """One that does not, as it is behind a NAT, is answered all the same but named to nobody."""
        peer, asker = self.peer(), self.peer()
        peer.answers_hellos = asker.answers_hellos = False
        self.assertTrue(is_pong(peer.call(OUR_PING), OUR_PING))

        def is_called() -> bool:
            peer.serve_for(1.0)
            return bool(peer.asked_from)

        eventually(is_called, "a HELLO")
        self.assertEqual(len(peer.asked_from), 1)
        self.assertFalse(self.named(asker, peer))
        self.assertTrue(is_pong(peer.call_again(OUR_PING), OUR_PING))

    def test_restart(self) -> None:
        """A node that was killed and restarted does not know the session; a HELLO begins another."""
        peer = self.peer()
        peer.call(OUR_PING)
        self.node.kill()
        self.node.start().wait_for_api()
        peer.send(peer.session.data(OUR_PING))
        self.assertTrue(is_pong(peer.call(OUR_PING), OUR_PING))

    def test_unknown_peers_get_challenges(self) -> None:
        """Of 20,000 datagrams of all kinds and sizes, HELLOs of 256 bytes are answered, with 181, and nothing
        else is."""
        peer = self.peer()
        for number in range(20_000):
            datagram = bytes([0x40 + number % 19]) + os.urandom(number % 1_400)
            if len(datagram) != 256:
                peer.send(datagram)
            if number % 50 == 0:
                hello = b"\x41" + os.urandom(255)
                peer.send(hello)
                answer = peer.socket.recv(2000)
                self.assertEqual((answer[:9], len(answer)), (b"\x42" + hello[1:9], 181))
        peer.socket.settimeout(1)
        with self.assertRaises(TimeoutError):
            peer.socket.recv(2000)


class SniffedTests(SynchronousTestCase):
    """What somebody sees who listens on the line."""

    def setUp(self) -> None:
        try:
            self.line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.addCleanup(self.line.close)
            # Beyond what the system allows others: what does not fit is not seen.
            self.line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        except PermissionError:
            raise SkipTest("only root may listen on the line") from None
        self.line.bind(("lo", 0))
        self.line.settimeout(0.2)
        self.datagrams: list[tuple[int, bytes]] = []
        self.is_over = threading.Event()
        listening = threading.Thread(target=self.listen)
        listening.start()
        self.addCleanup(listening.join)
        self.addCleanup(self.is_over.set)
        self.network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(self.network.stop)

    def listen(self) -> None:
        """Keep each datagram with its port: the line is that of all programs of this host, and its buffer
        would soon be full."""
        while not self.is_over.is_set():
            with contextlib.suppress(TimeoutError):
                frame = self.line.recv(65_535)
                # Ethernet 14, IPv4 20 with its protocol at 9, UDP 8.
                if frame[23] == socket.IPPROTO_UDP:
                    self.datagrams.append((int.from_bytes(frame[36:38], "big"), frame[42:]))

    def seen(self, ports: set[int]) -> list[bytes]:
        """The datagrams to these ports so far."""
        return [datagram for port, datagram in self.datagrams if port in ports]

    def test_nothing_in_clear(self) -> None:
        """No key, no value and no id or public key of an initiator can be read."""
        nodes = [self.network.node().wait_for_api()]
        for _ in range(3):
            nodes.append(self.network.node(seeds=(nodes[0],)).wait_for_api())
        nodes[-1].wait_for("Joined")
        keys, value = [os.urandom(32) for _ in range(20)], os.urandom(700)
        with nodes[1].client() as one, nodes[2].client() as other:
            self.assertTrue(all(one.put(key, value) for key in keys))
            self.assertTrue(all(other.get(key) == value for key in keys))
        # One that calls and is never called: all that it says of itself is in its FINISH.
        caller = IndependentPeer("main", DIFFICULTY, nodes[0].p2p_port)
        self.addCleanup(caller.close)
        caller.answers_hellos = False
        caller.call(OUR_PING)
        last = os.urandom(32)
        caller.socket.sendto(last, caller.socket.getsockname())
        eventually(lambda: last in (datagram for _, datagram in self.datagrams), "the last datagram")
        traffic = self.seen({node.p2p_port for node in nodes})
        self.assertGreater(sum(map(len, traffic)), 100_000)
        secrets = [*keys, value[:16], value[-16:], caller.identity.node_id, caller.identity.proof[:32]]
        for datagram in traffic:
            self.assertFalse([secret for secret in secrets if secret in datagram])
            self.assertIn(datagram[0], range(0x41, 0x46))
