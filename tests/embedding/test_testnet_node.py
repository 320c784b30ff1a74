from collections.abc import Iterable
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from dht14.embedding.testnet_node import PartitionGate


class Recorder(DatagramProtocol):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.heard.append(addr)


class FakePort:
    def __init__(self) -> None:
        self.protocol: DatagramProtocol = Recorder()


class FakePorts:
    def __init__(self) -> None:
        self.p2p, self.probe = FakePort(), FakePort()


class Connection(tcp.Client):
    """A connection that was made from here."""

    def __init__(self, port: int) -> None:
        self.realAddress = ("127.0.0.1", port)
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class FakeReactor:
    def __init__(self, readers: Iterable[object] = (), writers: Iterable[object] = ()) -> None:
        self.getReaders = lambda: list(readers)
        self.getWriters = lambda: list(writers)


class PartitionGateTests(SynchronousTestCase):
    """What a node in a partition hears."""

    def test_datagrams(self) -> None:
        """Both ports of a node drop what the other side sends, and hear it again when the gate is open."""
        gate, ports = PartitionGate(FakeReactor()), FakePorts()
        recorders = [ports.p2p.protocol, ports.probe.protocol]
        gate.stand_at(ports)  # type: ignore[arg-type]
        sources = [("127.0.0.1", number) for number in (1, 2, 3)]
        gate.shut_out({sources[0], sources[2]})
        for port in (ports.p2p, ports.probe):
            for source in sources:
                port.protocol.datagramReceived(b"", source)
        gate.shut_out(set())
        ports.p2p.protocol.datagramReceived(b"", sources[0])
        self.assertEqual([one.heard for one in recorders], [[sources[1], sources[0]], [sources[1]]])  # type: ignore[attr-defined]

    def test_connections(self) -> None:
        """Connections to nodes that are shut out are cut, whether they wait to read or to write."""
        kept, reading, writing = Connection(1), Connection(2), Connection(3)
        gate = PartitionGate(FakeReactor([kept, reading, object()], [writing]))
        gate.shut_out({("127.0.0.1", 2), ("127.0.0.1", 3)})
        self.assertEqual([kept.aborted, reading.aborted, writing.aborted], [False, True, True])
