"""A virtual Internet of datagrams: seeded latency, loss, duplication and reordering, and a trace of it all.

Every host has an access line of its own; the one-way latency of a link is the sum of its two ends, as
it is where last miles dominate. So links differ, hold still, and cost no memory. Host lines are drawn
from a lognormal distribution, as measured latencies between peers are; jitter is drawn per datagram.
"""

import hashlib
import random
import struct
from enum import Enum
from typing import cast

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import AbstractDatagramProtocol

from dht14.kademlia.contact import Address
from dht14.sim.clock import HeapClock

SOCKET_BUFFER = 256
"""Datagrams that wait for a frozen host; what comes on top is lost (the order of Linux's default buffer)."""


class Fate(Enum):
    """What became of a datagram; the value is its mark in the trace."""

    DELIVERED = b"d"
    LOST = b"l"
    UNREACHABLE = b"u"


class HostState(Enum):
    """A frozen host's kernel still takes datagrams in; from and to one that is cut off nothing passes."""

    UP = "up"
    FROZEN = "frozen"
    CUT = "cut"


@frozen
class Conditions:
    """How the network treats datagrams. `loss`, `duplicate` and `reorder` are probabilities.

    `latency` is the median one-way delay in seconds and `spread` the sigma of its logarithm over hosts;
    `jitter` is the largest part of a link's latency that comes on top of it. A datagram that is
    reordered is held back for up to `reorder_delay` seconds.
    """

    latency: float = 0.03
    spread: float = 0.5
    jitter: float = 0.2
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.2


@define
class Traffic:
    """Counters of a whole network: datagrams, except where bytes are named."""

    sent: int = 0
    sent_bytes: int = 0
    duplicated: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    unreachable: int = 0
    largest_bytes: int = 0


@define(eq=False)
class VirtualPort:
    """What a `DatagramProtocol` uses of its UDP transport. `exchanged` counts datagrams from and to it,
    whatever became of them."""

    address: Address
    protocol: AbstractDatagramProtocol
    access_latency: float
    _network: "VirtualNetwork"
    state: HostState = HostState.UP
    exchanged: int = 0
    waiting: list[tuple[bytes, Address]] = field(factory=list)

    def write(self, packet: bytes, addr: Address) -> None:
        """Send one datagram."""
        self._network.send(self, packet, addr)

    def getHost(self) -> IPv4Address | IPv6Address:
        host, port = self.address
        return IPv6Address("UDP", host, port) if ":" in host else IPv4Address("UDP", host, port)

    def stopListening(self) -> "Deferred[None]":
        self._network.close(self)
        return succeed(None)


class VirtualNetwork:
    """Carries datagrams between the addresses at which protocols listen."""

    def __init__(self, clock: HeapClock, rng: random.Random, conditions: Conditions) -> None:
        self.conditions = conditions
        self.traffic = Traffic()
        self._clock = clock
        self._rng = rng
        self._ports: dict[Address, VirtualPort] = {}
        self._trace = hashlib.sha256()

    def listen(self, address: Address, protocol: AbstractDatagramProtocol) -> VirtualPort:
        """Connect `protocol` to `address`; `CannotListenError` when that is taken."""
        if address in self._ports:
            raise CannotListenError(*address, OSError("Address already in use"))
        half = self.conditions.latency / 2 * self._rng.lognormvariate(0.0, self.conditions.spread)
        # Whole microseconds, so that a last bit of the C library's logarithm does not reach the digest.
        port = VirtualPort(address, protocol, round(half, 6), self)
        self._ports[address] = port
        protocol.makeConnection(cast(IUDPTransport, port))
        return port

    def close(self, port: VirtualPort) -> None:
        """Free the address; what is on its way there is unreachable."""
        if self._ports.get(port.address) is port:
            del self._ports[port.address]
            port.protocol.doStop()

    def remove(self, port: VirtualPort) -> None:
        """Switch a host off without a word to anybody. Its address is free for its next life."""
        self.cut(port)
        if self._ports.get(port.address) is port:
            del self._ports[port.address]

    def cut(self, port: VirtualPort) -> None:
        """Let nothing pass from or to this host any more; nobody is told."""
        port.state = HostState.CUT
        port.waiting.clear()

    def freeze(self, port: VirtualPort) -> None:
        """Let what arrives wait in the host's socket buffer."""
        port.state = HostState.FROZEN

    def mend(self, port: VirtualPort) -> None:
        """Let a host that was cut off or frozen take part again, and read what waited for it."""
        port.state = HostState.UP
        waiting, port.waiting = port.waiting, []
        for datagram, source in waiting:
            self._deliver(source, port, datagram)

    def send(self, port: VirtualPort, datagram: bytes, target: Address) -> None:
        """Decide what becomes of a datagram, and have it arrive when its time has come."""
        if port.state is HostState.CUT:
            return
        rng, conditions, traffic = self._rng, self.conditions, self.traffic
        traffic.sent += 1
        traffic.sent_bytes += len(datagram)
        traffic.largest_bytes = max(traffic.largest_bytes, len(datagram))
        port.exchanged += 1
        there = self._ports.get(target)
        if there is not None:
            there.exchanged += 1
        if rng.random() < conditions.loss:
            self._record(Fate.LOST, port.address, target, datagram)
            return
        link = port.access_latency + (there or port).access_latency
        copies = 1
        if conditions.duplicate and rng.random() < conditions.duplicate:
            traffic.duplicated += 1
            copies = 2
        for _ in range(copies):
            delay = link * (1.0 + conditions.jitter * rng.random())
            if conditions.reorder and rng.random() < conditions.reorder:
                delay += conditions.reorder_delay * rng.random()
            self._clock.post(delay, self._arrive, (port.address, target, datagram))

    def digest(self) -> str:
        """SHA-256 in hex over every event so far: its time, fate, source, target and bytes, in order."""
        return self._trace.hexdigest()

    def _arrive(self, journey: tuple[Address, Address, bytes]) -> None:
        source, target, datagram = journey
        port = self._ports.get(target)
        if port is None or port.state is HostState.CUT:
            self._record(Fate.UNREACHABLE, source, target, datagram)
        elif port.state is HostState.UP:
            self._deliver(source, port, datagram)
        elif len(port.waiting) < SOCKET_BUFFER:
            port.waiting.append((datagram, source))
        else:
            self._record(Fate.LOST, source, target, datagram)

    def _deliver(self, source: Address, port: VirtualPort, datagram: bytes) -> None:
        self._record(Fate.DELIVERED, source, port.address, datagram)
        port.protocol.datagramReceived(datagram, source)

    def _record(self, fate: Fate, source: Address, target: Address, datagram: bytes) -> None:
        """Count an event and put it into the trace, in a form that is the same on every machine."""
        traffic = self.traffic
        if fate is Fate.DELIVERED:
            traffic.delivered += 1
            traffic.delivered_bytes += len(datagram)
        elif fate is Fate.LOST:
            traffic.lost += 1
        else:
            traffic.unreachable += 1
        journey = f"{source[0]} {source[1]} {target[0]} {target[1]} {len(datagram)} "
        when = struct.pack(">d", self._clock.seconds())
        self._trace.update(fate.value + when + journey.encode("ascii") + datagram)
