"""One node of a test network: a process of its own, forked by its host.

The host gives it one end of a pair of sockets. The node reports there where it listens and when it is ready,
and is told there which nodes it must not hear. It ends when its host does.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.logger import globalLogBeginner
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from dht14.app import logs
from dht14.app.embedded_settings import embedded_settings
from dht14.app.log_file import LogFile
from dht14.app.options import LogFormat, LogLevel, Role
from dht14.app.ports import NodePorts
from dht14.app.reactor_clock import monotonic_clock, set_reactor_clock
from dht14.app.service import NodeService, build_node
from dht14.client.address import format_address
from dht14.errors import StartError
from dht14.kademlia.contact import Address

READY_TIMEOUT = 60.0
"""Seconds."""

LOG_NAME = "node.log"

_PR_SET_PDEATHSIG = 1


@frozen(kw_only=True)
class MemberSpec:
    """What one node of a test network is started with."""

    folder: str
    seeds: tuple[str, ...]
    p2p: str
    api: str
    options: Mapping[str, object]


def become_node(host: socket.socket, spec: MemberSpec) -> None:
    """Run the node in this process, which was just forked and has no reactor yet. Never returns while the
    host lives."""
    _end_with_host()
    os.makedirs(spec.folder, mode=0o700, exist_ok=True)
    _leave_terminal(os.path.join(spec.folder, "stderr"))
    # Installed only here: a reactor does not survive a fork.
    from twisted.internet import reactor as installed

    reactor: Any = installed
    set_reactor_clock(reactor, monotonic_clock())
    file = LogFile(os.path.join(spec.folder, LOG_NAME))
    log = logs.ProcessLog.to(file, LogFormat.TEXT, logs.LogThreshold(LogLevel.INFO))
    log.attach(reactor)
    globalLogBeginner.beginLoggingTo([log.observer], discardBuffer=True, redirectStandardIO=False)
    factory = Factory()
    factory.protocol = lambda: _HostLink(spec, reactor)
    reactor.adoptStreamConnection(host.fileno(), socket.AF_UNIX, factory)
    host.close()
    reactor.run(installSignalHandlers=False)


def _end_with_host() -> None:
    """Let the kernel kill this process when its parent ends, even if that is killed. Ignore what a terminal
    sends to all of its programs: the host decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_terminal(stderr: str) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    errors = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in ((0, nothing), (1, nothing), (2, errors)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(errors)


class _HostLink(LineReceiver):
    """The connection to the host. Each message is one line of JSON."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, spec: MemberSpec, reactor: Any) -> None:
        self._spec = spec
        self._reactor = reactor
        self._gate = PartitionGate(reactor)

    def connectionMade(self) -> None:
        Deferred.fromCoroutine(self._start()).addErrback(lambda failure: self._say(error=str(failure.value)))

    async def _start(self) -> None:
        try:
            service = self._build()
        except (StartError, TypeError) as error:
            self._say(error=str(error))
            return
        service.startService()
        ports = service.ports
        assert ports.api is not None
        probe = ports.probe.getHost()
        self._say(
            p2p=format_address(*ports.p2p_address),
            api=format_address(*ports.api.address),
            sources=[ports.p2p_address, (probe.host, probe.port)],
        )
        if await service.readiness.when_ready(READY_TIMEOUT):
            self._gate.stand_at(ports)
            self._say(ready=True)
        else:
            self._say(error="the node did not become ready")

    def _build(self) -> NodeService:
        spec = self._spec
        settings = embedded_settings(spec.folder, spec.seeds, spec.p2p, spec.api, spec.options)
        return build_node(settings, self._reactor, Role.NODE)

    def lineReceived(self, line: bytes) -> None:
        """The host names the addresses that must not be heard any more."""
        self._gate.shut_out({(host, port) for host, port in json.loads(line)})
        self._say(done=True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The host has ended."""
        os._exit(0)

    def _say(self, **message: object) -> None:
        self.sendLine(json.dumps(message).encode())


class PartitionGate:
    """Shuts nodes out: drops their datagrams, and cuts the connections to them.

    Both sides of a partition do that, so nothing gets across. Large values travel over connections that need
    a ticket from a datagram: so no new ones are used, either.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.shut: frozenset[Address] = frozenset()

    def stand_at(self, ports: NodePorts) -> None:
        """Judge all datagrams from now on. The ports must have been served."""
        for port in (ports.p2p, ports.probe):
            port.protocol = _GatedProtocol(port.protocol, self)

    def shut_out(self, addresses: set[Address]) -> None:
        """Hear nothing from these addresses any more, but all others again."""
        self.shut = frozenset(addresses)
        for selectable in {*self._reactor.getReaders(), *self._reactor.getWriters()}:
            if isinstance(selectable, tcp.Client) and selectable.realAddress[:2] in self.shut:
                selectable.abortConnection()


class _GatedProtocol(DatagramProtocol):
    """Hands on the datagrams that the gate lets through."""

    def __init__(self, behind: DatagramProtocol, gate: PartitionGate) -> None:
        self._behind = behind
        self._gate = gate

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if addr not in self._gate.shut:
            self._behind.datagramReceived(datagram, addr)
