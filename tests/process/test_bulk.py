"""The bulk port of a real node with many unknown peers; the environment can raise their number."""

import contextlib
import os
import socket
import ssl
import time

from dht14.kademlia.parameters import MAX_VALUE
from tests.process.test_network import NetworkTestCase

UNKNOWN_PEERS = int(os.environ.get("DHT14_TESTS_HALF_OPEN", "300"))
"""More than a node lets in."""


def client_hello() -> bytes:
    """The beginning of a handshake that nobody goes on with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["dht14/1"])
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


class HalfOpenTests(NetworkTestCase):
    runs_alone = True
    """It measures how long the connections last."""

    def test_unknown_peers(self) -> None:
        """Connections that go no further than a handshake, or not so far, hinder nobody and are closed in
        time."""
        first = self.network.node()
        second = self.network.node(seeds=(first,))
        for node in (first, second):
            node.wait_for("Joined")
            node.wait_for_api()
        beginnings = (b"", b"\x16", client_hello()[:100], client_hello())
        with contextlib.ExitStack() as unknown_peers:
            began = time.monotonic()
            waiting = []
            for number in range(UNKNOWN_PEERS):
                unknown_peer = unknown_peers.enter_context(
                    socket.create_connection(("127.0.0.1", first.p2p_port), timeout=20)
                )
                unknown_peer.sendall(beginnings[number % len(beginnings)])
                waiting.append(unknown_peer)
            value = self.rng.randbytes(MAX_VALUE)
            with second.client() as client:
                self.assertTrue(client.put(bytes(32), value))
            with first.client() as client:
                self.assertEqual(client.get(bytes(32)), value)
            for unknown_peer in waiting:
                with contextlib.suppress(ConnectionResetError):
                    while unknown_peer.recv(4096):
                        pass
            self.assertLess(time.monotonic() - began, 35)
