"""Real nodes: clocks that are set while they run, and one node that is stopped for a while."""

import signal
import time
from functools import partial
from hashlib import sha256

from dht14.wire.datagram import encode
from dht14.wire.messages import Ping
from tests.independent_peer import IndependentPeer, pong
from tests.process.clocks import HostClock
from tests.process.nodes import DIFFICULTY, Twistd, eventually
from tests.process.test_network import JOIN_TIMEOUT, NetworkTestCase

TTL = 20
SHORT = {"DHT14_STORAGE_MIN_TTL": "1"}
"""Values may live so shortly."""
LATENESS = 2.0
"""Seconds after its expiry for which a get may return a value."""

BUSY = 10.0
"""Seconds of delay on a busy machine."""

PING_TIMEOUT = 30.0
"""Seconds within which a node pings its only contact; 10 on an idle machine."""

PING = encode(b"12345678", Ping())


class Pinged(IndependentPeer):
    """A contact that counts PINGs."""

    pings = 0

    def reply_to(self, request: bytes) -> bytes:
        answer = pong(request)
        self.pings += answer is not None
        return answer or b""


class ClockTests(NetworkTestCase):
    """The test sets the clock of each node's host, unless said otherwise."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = HostClock(self.network.folder / "clock")
        self.environment = {**self.clock.environment, **SHORT}

    def found(self, node: Twistd, key: bytes) -> bytes | None:
        with node.client() as client:
            return client.get(key)

    def put_one(self, node: Twistd, key: bytes, ttl: int, copies: int) -> tuple[float, float]:
        """Put a value until so many nodes have it; return the times of the last request and its response."""

        def tried() -> tuple[float, float] | None:
            with node.client() as client:
                asked = time.monotonic()
                receipt = client.put_with_receipt(key, b"value", ttl)
                return (asked, time.monotonic()) if receipt.stored == copies else None

        return eventually(tried, "a PUT that reaches all nodes")

    def is_gone(self, node: Twistd, key: bytes) -> bool:
        return self.found(node, key) is None

    def test_values(self) -> None:
        """A value expires in time, and not before, whether the clock of a holder is set back or forward."""
        first = self.network.node(environment=SHORT).wait_for_api()
        set_ones = [self.network.node(seeds=(first,), environment=self.environment) for _ in range(2)]
        for node in set_ones:
            node.wait_for("Joined")
            node.wait_for_api()
        for hours in (-1, 25, -25):
            self.clock.set(0)
            key = self.rng.randbytes(32)
            asked, answered = self.put_one(set_ones[0], key, TTL, copies=3)
            self.clock.set(hours)
            get_responded = [self.found(node, key) for node in (first, *set_ones)]
            self.assertLess(time.monotonic() - asked, TTL, "the machine is too busy for this test")
            self.assertEqual(get_responded, [b"value"] * 3, hours)
            for node in (first, *set_ones):
                eventually(partial(self.is_gone, node, key), "the value to expire")
            self.assertGreater(time.monotonic() - asked, TTL - 0.1)
            self.assertLess(time.monotonic() - answered, TTL + LATENESS + BUSY)

    def test_pings(self) -> None:
        """A node whose clock is set continues to ping its contacts."""
        node = self.network.node(environment=self.environment).wait_until_listening()
        contact = Pinged("main", DIFFICULTY, node.p2p_port)
        self.addCleanup(contact.close)
        contact.call(PING)
        for hours in (-1, 25, -25):
            self.clock.set(hours)
            before = contact.pings

            def was_pinged(before: int = before) -> bool:
                contact.serve_for(0.5)
                return contact.pings > before

            eventually(was_pinged, f"a PING with the clock at {hours:+} h", PING_TIMEOUT)

    def test_joins(self) -> None:
        """Nodes without peers whose clocks were set join within one interval once a seed starts."""
        seed = self.network.bootstrap_node()
        seed.wait_for("Listening on")
        seed.stop()
        slow, fast = self.clock, HostClock(self.network.folder / "another clock")
        alone = [self.network.node(seeds=(seed,), environment=clock.environment) for clock in (slow, fast)]
        for node in alone:
            node.wait_for("No peer reachable")
        slow.set(-25)
        fast.set(25)
        seed.start()
        for node in alone:
            node.wait_for("Joined", JOIN_TIMEOUT)

    def test_begins_wrong(self) -> None:
        """A node whose clock is years slow joins, receives calls, and returns content like others."""
        first = self.network.node(environment=SHORT).wait_for_api()
        self.clock.set(-20_000)
        last = self.network.node(seeds=(first,), environment=self.environment)
        last.wait_for("Joined", JOIN_TIMEOUT)
        last.wait_for_api()
        self.put_one(first, sha256(b"value").digest(), 600, copies=2)
        first.kill()
        self.assertEqual(self.found(last, sha256(b"value").digest()), b"value")


class StoppedTests(NetworkTestCase):
    def test_stopped(self) -> None:
        """Records that a stopped node finds in its socket when it continues live no longer than elsewhere."""
        first = self.network.node(environment=SHORT).wait_for_api()
        last = self.network.node(seeds=(first,), environment=SHORT)
        last.wait_for("Joined")
        last.wait_for_api()
        last.process.send_signal(signal.SIGSTOP)
        self.addCleanup(last.process.send_signal, signal.SIGCONT)
        key, ttl = self.rng.randbytes(32), 4
        with first.client() as client:
            client.put(key, b"value", ttl=ttl)
        expires_at = time.monotonic() + ttl
        while (left := expires_at + LATENESS - time.monotonic()) > 0:
            time.sleep(left)
        last.process.send_signal(signal.SIGCONT)
        for _ in range(20):
            with last.client() as client:
                self.assertIsNone(client.get(key))
