"""The virtual network, with toy protocols."""

import os
import random
import subprocess
import sys

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions
from dht14.sim.network import SOCKET_BUFFER, Nat, VirtualNetwork, VirtualPort

HERE, THERE, NOWHERE = ("10.0.0.1", 8000), ("10.0.0.2", 8000), ("10.0.0.3", 8000)


class Recorder(DatagramProtocol):
    """Records each datagram with its time; answers `echo`."""

    noisy = False

    def __init__(self, clock: HeapClock) -> None:
        self.clock = clock
        self.seen: list[tuple[float, bytes, Address]] = []

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.seen.append((self.clock.seconds(), datagram, addr))
        if datagram == b"echo":
            assert self.transport is not None
            self.transport.write(b"echoed", addr)

    def texts(self) -> list[bytes]:
        return [datagram for _, datagram, _ in self.seen]


class Pair:
    """Two recorders on one network."""

    def __init__(self, conditions: Conditions, seed: int = 1) -> None:
        self.clock = HeapClock()
        self.network = VirtualNetwork(self.clock, random.Random(seed), conditions)
        self.here, self.there = Recorder(self.clock), Recorder(self.clock)
        self.port = self.network.listen(HERE, self.here)
        self.peer = self.network.listen(THERE, self.there)

    def send(self, count: int, gap: float = 0.0) -> list[bytes]:
        texts = [b"%d" % number for number in range(count)]
        for text in texts:
            self.port.write(text, THERE)
            self.clock.run_until(self.clock.seconds() + gap)
        self.clock.run_until(self.clock.seconds() + 10)
        return texts


class VirtualPortTests(SynchronousTestCase):
    def test_exchange(self) -> None:
        """A datagram comes from the address of its sender, which receives the answer."""
        pair = Pair(Conditions())
        pair.port.write(b"echo", THERE)
        pair.clock.run_until(1)
        self.assertEqual([seen[1:] for seen in pair.there.seen], [(b"echo", HERE)])
        self.assertEqual([seen[1:] for seen in pair.here.seen], [(b"echoed", THERE)])
        self.assertEqual((pair.port.exchanged, pair.peer.exchanged), (2, 2))
        self.assertEqual(pair.port.exchanged_bytes, pair.peer.exchanged_bytes)

    def test_get_host(self) -> None:
        """A port reports its address as a UDP port does, in both families."""
        pair = Pair(Conditions())
        six = pair.network.listen(("fd00::1", 7), Recorder(pair.clock))
        self.assertEqual(pair.port.getHost(), IPv4Address("UDP", *HERE))
        self.assertEqual(six.getHost(), IPv6Address("UDP", "fd00::1", 7))

    def test_stop_listening(self) -> None:
        """A port that stops disconnects its protocol, frees its address, and receives nothing more."""
        pair = Pair(Conditions())
        pair.port.write(b"too late", THERE)
        self.assertIsNone(self.successResultOf(pair.peer.stopListening()))
        self.assertIsNone(pair.there.transport)
        pair.clock.run_until(1)
        self.assertEqual((pair.there.seen, pair.network.traffic.unreachable), ([], 1))
        successor = Recorder(pair.clock)
        pair.network.listen(THERE, successor)
        self.assertIsNone(self.successResultOf(pair.peer.stopListening()))
        self.assertEqual(pair.send(1), successor.texts())

    def test_place(self) -> None:
        """All ports of a host have one access latency and region, also after a restart."""
        pair = Pair(Conditions.worldwide())
        second = pair.network.listen((HERE[0], 9), Recorder(pair.clock))
        self.assertEqual((second.access_latency, second.region), (pair.port.access_latency, pair.port.region))
        pair.network.remove(pair.peer)
        reborn = pair.network.listen(THERE, Recorder(pair.clock))
        self.assertEqual((reborn.access_latency, reborn.region), (pair.peer.access_latency, pair.peer.region))

    def test_address_in_use(self) -> None:
        """An address belongs to one protocol."""
        pair = Pair(Conditions())
        self.assertRaises(CannotListenError, pair.network.listen, HERE, Recorder(pair.clock))


class VirtualNetworkTests(SynchronousTestCase):
    def test_latency(self) -> None:
        """Each pair of hosts has its own latency, plus jitter; the median is the configured one."""
        conditions = Conditions(latency=0.03, jitter=0.1)
        pair = Pair(conditions)
        pair.send(200)
        delays = [when for when, _, _ in pair.there.seen]
        base = pair.port.access_latency + pair.peer.access_latency
        self.assertTrue(all(base <= delay <= base * 1.1 for delay in delays))
        self.assertGreater(max(delays), min(delays))
        ports = [
            pair.network.listen((f"10.1.{host >> 8}.{host & 255}", 1), Recorder(pair.clock))
            for host in range(1, 1000)
        ]
        halves = sorted(port.access_latency for port in ports)
        self.assertApproximates(halves[500], 0.015, 0.002)
        self.assertGreater(halves[-1], 3 * halves[0])

    def test_loss(self) -> None:
        """The configured share of datagrams is lost; each is counted with its fate."""
        pair = Pair(Conditions(loss=0.2))
        pair.send(2000)
        traffic = pair.network.traffic
        self.assertApproximates(traffic.lost, 400, 60)
        self.assertEqual((traffic.sent, traffic.delivered), (2000, len(pair.there.seen)))
        self.assertEqual(traffic.lost + traffic.delivered, 2000)

    def test_total_loss(self) -> None:
        """A loss of 1 delivers nothing, a loss of 0 everything."""
        gone, kept = Pair(Conditions(loss=1.0)), Pair(Conditions(loss=0.0, jitter=0.0))
        gone.send(100)
        self.assertEqual(gone.there.seen, [])
        self.assertEqual(kept.send(100), kept.there.texts())

    def test_duplication(self) -> None:
        """The configured share of datagrams arrives twice."""
        pair = Pair(Conditions(duplicate=0.1))
        texts = pair.send(1000)
        self.assertEqual(set(pair.there.texts()), set(texts))
        self.assertEqual(len(pair.there.seen), 1000 + pair.network.traffic.duplicated)
        self.assertApproximates(pair.network.traffic.duplicated, 100, 30)

    def test_reordering(self) -> None:
        """Datagrams a millisecond apart keep their order on a link without jitter, unless reordering is
        configured."""
        straight = Pair(Conditions(jitter=0.0))
        self.assertEqual(straight.send(100, gap=0.001), straight.there.texts())
        crossed = Pair(Conditions(jitter=0.0, reorder=0.2))
        texts = crossed.send(100, gap=0.001)
        self.assertNotEqual(crossed.there.texts(), texts)
        self.assertEqual(sorted(crossed.there.texts()), sorted(texts))

    def test_counts_bytes(self) -> None:
        """Bytes are counted, and the largest datagram is recorded."""
        pair = Pair(Conditions())
        pair.port.write(bytes(10), THERE)
        pair.port.write(bytes(1200), NOWHERE)
        pair.clock.run_until(1)
        traffic = pair.network.traffic
        self.assertEqual(
            (traffic.sent_bytes, traffic.delivered_bytes, traffic.largest_bytes), (1210, 10, 1200)
        )
        self.assertEqual((traffic.delivered, traffic.unreachable), (1, 1))

    def test_cut(self) -> None:
        """Nothing passes from or to a host that is cut off, not even datagrams in flight; after `mend` it
        continues."""
        pair = Pair(Conditions())
        pair.port.write(b"on its way", THERE)
        pair.network.cut(pair.peer)
        pair.peer.write(b"unheard", HERE)
        pair.send(1)
        self.assertEqual((pair.here.seen, pair.there.seen), ([], []))
        pair.network.mend(pair.peer)
        self.assertEqual(pair.send(1), pair.there.texts())

    def test_removed(self) -> None:
        """A host that was switched off stays silent, and its address is free."""
        pair = Pair(Conditions())
        pair.network.remove(pair.peer)
        reborn = Recorder(pair.clock)
        pair.network.listen(THERE, reborn)
        pair.network.remove(pair.peer)
        pair.peer.write(b"unheard", HERE)
        self.assertEqual(pair.send(1), reborn.texts())
        self.assertEqual((pair.here.seen, pair.there.seen), ([], []))

    def test_frozen(self) -> None:
        """Datagrams for a frozen host are queued, up to its socket buffer, and delivered when it thaws."""
        pair = Pair(Conditions(jitter=0.0))
        pair.network.freeze(pair.peer)
        texts = pair.send(SOCKET_BUFFER + 5)
        self.assertEqual(pair.there.seen, [])
        pair.network.mend(pair.peer)
        self.assertEqual(pair.there.texts(), texts[:SOCKET_BUFFER])
        self.assertEqual(pair.network.traffic.lost, 5)

    def test_nat(self) -> None:
        """A host behind a NAT receives only from addresses that it has sent to in the last two minutes."""
        pair = Pair(Conditions())
        hidden = Recorder(pair.clock)
        port = pair.network.listen(NOWHERE, hidden, behind_nat=True)
        other = pair.network.listen((THERE[0], THERE[1] + 1), Recorder(pair.clock))
        pair.peer.write(b"uninvited", NOWHERE)
        pair.clock.run_until(1)
        port.write(b"echo", THERE)
        pair.clock.run_until(2)
        other.write(b"from another port", NOWHERE)
        pair.clock.run_until(Nat.MAPPING_LIFETIME - 1)
        pair.peer.write(b"in time", NOWHERE)
        pair.clock.run_until(Nat.MAPPING_LIFETIME + 1)
        pair.peer.write(b"too late", NOWHERE)
        pair.clock.run_until(Nat.MAPPING_LIFETIME + 2)
        self.assertEqual(hidden.texts(), [b"echoed", b"in time"])
        self.assertEqual(pair.network.traffic.filtered, 3)

    def test_parted(self) -> None:
        """Nothing passes between the sides of a partition, also not to restarted hosts; all passes within a
        side."""
        pair = Pair(Conditions())
        friend = Recorder(pair.clock)
        pair.network.listen(NOWHERE, friend)
        pair.port.write(b"on its way", THERE)
        pair.network.partition([HERE[0], NOWHERE[0]], [THERE[0]])
        pair.port.write(b"hello", NOWHERE)
        pair.network.remove(pair.peer)
        reborn = Recorder(pair.clock)
        pair.network.listen(THERE, reborn)
        pair.send(1)
        self.assertEqual((pair.there.seen, reborn.seen, friend.texts()), ([], [], [b"hello"]))
        pair.network.partition()
        self.assertEqual(pair.send(1), reborn.texts())

    def test_distances(self) -> None:
        """The latency between regions adds to that of the hosts."""
        conditions = Conditions(jitter=0.0, distances=((1.0, 7.0), (7.0, 2.0)), shares=(0.5, 0.5))
        pair = Pair(conditions)
        ports = [pair.network.listen((f"10.1.0.{host}", 1), Recorder(pair.clock)) for host in range(1, 20)]
        ports.append(pair.peer)
        for port in ports:
            port.write(b"", HERE)
        pair.clock.run_until(10)
        expected = sorted(
            port.access_latency
            + pair.port.access_latency
            + conditions.distances[port.region][pair.port.region]
            for port in ports
        )
        self.assertEqual({port.region for port in ports}, {0, 1})
        self.assertEqual([when for when, _, _ in pair.here.seen], expected)


def storm(seed: int) -> str:
    """Return the digest of some traffic under all conditions at once."""
    pair = Pair(Conditions(loss=0.1, duplicate=0.1, reorder=0.1), seed)
    outsider: VirtualPort = pair.network.listen(("fd00::1", 9), Recorder(pair.clock))
    for _ in range(50):
        pair.port.write(b"echo", THERE)
        outsider.write(b"echo", HERE)
        outsider.write(b"hello?", NOWHERE)
    pair.clock.run_until(5)
    return pair.network.digest()


class DigestTests(SynchronousTestCase):
    def test_same_seed(self) -> None:
        """The same seed gives the same digest, another seed another."""
        self.assertEqual(storm(7), storm(7))
        self.assertNotEqual(storm(7), storm(8))

    def test_every_event_counts(self) -> None:
        """The digest has time, bytes, direction and fate of each datagram."""
        digests = set()
        for conditions, at, datagram, target in (
            (Conditions(), 0.0, b"a", THERE),
            (Conditions(), 0.0, b"b", THERE),
            (Conditions(), 0.1, b"a", THERE),
            (Conditions(), 0.0, b"a", NOWHERE),
            (Conditions(), 0.0, b"a", HERE),
            (Conditions(loss=1.0), 0.0, b"a", THERE),
        ):
            pair = Pair(conditions)
            pair.clock.run_until(at)
            pair.port.write(datagram, target)
            pair.clock.run_until(1)
            digests.add(pair.network.digest())
        self.assertEqual(len(digests), 6)

    def test_other_processes(self) -> None:
        """The digest does not depend on the process or on its string hashes."""
        digests = {storm(7)}
        for hash_seed in ("1", "2"):
            command = [sys.executable, "-c", "from tests.sim.test_network import storm; print(storm(7))"]
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            digests.add(output.stdout.strip())
        self.assertEqual(len(digests), 1)
