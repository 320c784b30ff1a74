"""A virtual network of datagrams: seeded latency, loss, duplication and reordering, NATs, partitions, and a
trace of all events. `sim.conditions` has the figures.
"""

import hashlib
import random
import struct
from collections.abc import Callable, Iterable
from enum import Enum
from typing import cast

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import AbstractDatagramProtocol

from dht14.kademlia.contact import Address
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions

SOCKET_BUFFER = 256
"""Datagrams that are queued for a frozen host; further ones are lost (about the default buffer of Linux)."""


class DatagramFate(Enum):
    """The fate of a datagram; the value is its mark in the trace."""

    DELIVERED = b"d"
    LOST = b"l"
    FILTERED = b"f"
    """A NAT dropped it."""
    UNREACHABLE = b"u"


class HostState(Enum):
    """The kernel of a frozen host still queues datagrams; nothing passes from or to a host that is cut
    off."""

    UP = "up"
    FROZEN = "frozen"
    CUT = "cut"


@define
class Traffic:
    """Counters of a whole network, in datagrams unless the name says bytes."""

    sent: int = 0
    sent_bytes: int = 0
    duplicated: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    filtered: int = 0
    unreachable: int = 0
    largest_bytes: int = 0


@define(eq=False)
class Nat:
    """A port-restricted NAT (RFC 4787: address- and port-dependent filtering). It accepts datagrams only from
    addresses that its host has sent to within MAPPING_LIFETIME. The address of its host is the outside
    one."""

    MAPPING_LIFETIME = 120.0
    """Seconds: the least that RFC 4787 allows. Only outgoing datagrams prolong it."""

    _sent: dict[Address, float] = field(factory=dict)

    def sent(self, target: Address, now: float) -> None:
        """The host behind it has sent a datagram to `target`."""
        self._sent[target] = now

    def accepts(self, source: Address, now: float) -> bool:
        """Whether a datagram from `source` reaches the host."""
        sent = self._sent.get(source)
        return sent is not None and now - sent <= self.MAPPING_LIFETIME


@define(eq=False)
class VirtualPort:
    """The part of a UDP transport that a `DatagramProtocol` uses. `exchanged` and `exchanged_bytes` count
    datagrams from and to it, whatever their fate."""

    address: Address
    protocol: AbstractDatagramProtocol
    access_latency: float
    region: int
    _network: "VirtualNetwork"
    nat: Nat | None = None
    side: int = 0
    """Of a partition: nothing passes between ports of different sides."""
    state: HostState = HostState.UP
    exchanged: int = 0
    exchanged_bytes: int = 0
    queued: list[tuple[bytes, Address]] = field(factory=list)
    label: bytes = field(init=False, repr=False)
    """Its address in the trace."""

    def __attrs_post_init__(self) -> None:
        self.label = _label(self.address)

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
        self.observer: Callable[[bytes], None] | None = None
        """Called with every datagram that is sent."""
        self._clock = clock
        self._rng = rng
        self._ports: dict[Address, VirtualPort] = {}
        self._access: dict[str, tuple[float, int]] = {}
        """Access latency and region of every host that ever listened, by host; they never change."""
        self._sides: dict[str, int] = {}
        self._trace = hashlib.sha256()

    def listen(
        self, address: Address, protocol: AbstractDatagramProtocol, behind_nat: bool = False
    ) -> VirtualPort:
        """Connect `protocol` to `address`. Raises `CannotListenError` when the address is in use."""
        if address in self._ports:
            raise CannotListenError(*address, OSError("Address already in use"))
        host, _ = address
        if host not in self._access:
            self._access[host] = self.conditions.draw_access(self._rng)
        access_latency, region = self._access[host]
        nat = Nat() if behind_nat else None
        port = VirtualPort(address, protocol, access_latency, region, self, nat, self._sides.get(host, 0))
        self._ports[address] = port
        protocol.makeConnection(cast(IUDPTransport, port))
        return port

    def close(self, port: VirtualPort) -> None:
        """Free the address; datagrams in flight to it are unreachable."""
        if self._ports.get(port.address) is port:
            del self._ports[port.address]
            port.protocol.doStop()

    def remove(self, port: VirtualPort) -> None:
        """Switch a host off. Its address is free for its next process."""
        self.cut(port)
        if self._ports.get(port.address) is port:
            del self._ports[port.address]

    def cut(self, port: VirtualPort) -> None:
        """Drop all datagrams from and to this host from now on, without a notice."""
        port.state = HostState.CUT
        port.queued.clear()

    def freeze(self, port: VirtualPort) -> None:
        """Queue incoming datagrams in the socket buffer of the host."""
        port.state = HostState.FROZEN

    def mend(self, port: VirtualPort) -> None:
        """Reconnect a host that was cut off or frozen, and deliver its queued datagrams."""
        port.state = HostState.UP
        queued, port.queued = port.queued, []
        for datagram, source in queued:
            self._record(DatagramFate.DELIVERED, _label(source), port.label, datagram)
            port.protocol.datagramReceived(datagram, source)

    def partition(self, *sides: Iterable[str]) -> None:
        """Partition the network into these sides and the rest; without sides, end the partition. A host that
        restarts stays on its side."""
        self._sides = {host: side for side, hosts in enumerate(sides, 1) for host in hosts}
        for port in self._ports.values():
            port.side = self._sides.get(port.address[0], 0)

    def send(self, port: VirtualPort, datagram: bytes, target: Address) -> None:
        """Decide the fate of a datagram, and schedule its arrival."""
        if port.state is HostState.CUT:
            return
        rng, conditions, traffic = self._rng, self.conditions, self.traffic
        size = len(datagram)
        traffic.sent += 1
        traffic.sent_bytes += size
        traffic.largest_bytes = max(traffic.largest_bytes, size)
        port.exchanged += 1
        port.exchanged_bytes += size
        if self.observer is not None:
            self.observer(datagram)
        if port.nat is not None:
            port.nat.sent(target, self._clock.seconds())
        there = self._ports.get(target)
        if there is not None:
            there.exchanged += 1
            there.exchanged_bytes += size
        if rng.random() < conditions.loss:
            self._record(DatagramFate.LOST, port.label, there.label if there else _label(target), datagram)
            return
        far = there or port
        link = port.access_latency + far.access_latency + conditions.distances[port.region][far.region]
        copies = 1
        if conditions.duplicate and rng.random() < conditions.duplicate:
            traffic.duplicated += 1
            copies = 2
        for _ in range(copies):
            delay = link * (1.0 + conditions.jitter * rng.random())
            if conditions.reorder and rng.random() < conditions.reorder:
                delay += conditions.reorder_delay * rng.random()
            self._clock.post(delay, self._arrive, (port, target, datagram))

    def reseed(self, seed: str) -> None:
        """Draw all further random numbers from this seed."""
        self._rng.seed(seed)

    def digest(self) -> str:
        """Return the SHA-256, in hex, of all events so far: time, fate, source, target and bytes, in
        order."""
        return self._trace.hexdigest()

    def _arrive(self, journey: tuple[VirtualPort, Address, bytes]) -> None:
        sender, target, datagram = journey
        port = self._ports.get(target)
        if port is None or port.state is HostState.CUT or port.side != sender.side:
            self._record(DatagramFate.UNREACHABLE, sender.label, _label(target), datagram)
        elif port.nat is not None and not port.nat.accepts(sender.address, self._clock.seconds()):
            self._record(DatagramFate.FILTERED, sender.label, port.label, datagram)
        elif port.state is HostState.UP:
            self._record(DatagramFate.DELIVERED, sender.label, port.label, datagram)
            port.protocol.datagramReceived(datagram, sender.address)
        elif len(port.queued) < SOCKET_BUFFER:
            port.queued.append((datagram, sender.address))
        else:
            self._record(DatagramFate.LOST, sender.label, port.label, datagram)

    def _record(self, fate: DatagramFate, source: bytes, target: bytes, datagram: bytes) -> None:
        """Count an event and add it to the trace, in a form that is the same on every machine. `source` and
        `target` are labels."""
        traffic, size = self.traffic, len(datagram)
        if fate is DatagramFate.DELIVERED:
            traffic.delivered += 1
            traffic.delivered_bytes += size
        elif fate is DatagramFate.LOST:
            traffic.lost += 1
        elif fate is DatagramFate.FILTERED:
            traffic.filtered += 1
        else:
            traffic.unreachable += 1
        head = _MARKS[fate] + _pack_time(self._clock.seconds())
        self._trace.update(b"%b%b%b%d %b" % (head, source, target, size, datagram))


_MARKS = {fate: fate.value for fate in DatagramFate}
_pack_time = struct.Struct(">d").pack


def _label(address: Address) -> bytes:
    """Return an address as it stands in the trace."""
    host, port = address
    return f"{host} {port} ".encode("ascii")
