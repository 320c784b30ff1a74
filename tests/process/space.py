"""A network of the test's own, in which it has every address, sees every packet and may say it is anybody."""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator

from attrs import define, field, frozen
from twisted.trial.unittest import SkipTest

from dht14.kademlia.contact import Address

ADDRESSES = "198.18.0.0/15"
"""All of them are this host's in a space: those that are set aside for such tests (RFC 2544)."""

FORGED_TTL = 65
"""By which the forger's packets are distinguished from others."""

_CLONE_NEWNET = 0x40000000
_ETH_P_IP = 0x0800
_IP = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")


@define
class Space:
    """A network namespace. Who entered it, and all that it starts from then on, is in it alone."""

    _outside: int

    @classmethod
    def enter(cls) -> "Space":
        """Make one, and let this thread be in it. SkipTest where that is not permitted."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        if _libc().unshare(_CLONE_NEWNET):
            os.close(outside)
            raise SkipTest("only root may make a network namespace")
        space = cls(outside)
        try:
            for words in ("link set lo up", f"route add local {ADDRESSES} dev lo"):
                subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            space.leave()
            raise SkipTest(f"a network namespace cannot be set up: {error}") from None
        return space

    def leave(self) -> None:
        """Go back. The namespace ends with the last process in it."""
        _libc().setns(self._outside, _CLONE_NEWNET)
        os.close(self._outside)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@frozen
class Datagram:
    """A UDP datagram as it was seen on the line."""

    source: Address
    target: Address
    payload: bytes


@define(eq=False)
class Line:
    """Everything on the loopback. To be read now and then, or packets are missed."""

    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind(("lo", 0))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def packets(self) -> Iterator[bytes]:
        """The IP packets since the last time, those of a `Forger` left out."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = self._socket.recvfrom(65_600)
                # On the loopback each packet goes and comes.
                if kind != socket.PACKET_OUTGOING and frame[14 + 8] != FORGED_TTL:
                    yield frame[14:]

    def datagrams(self) -> Iterator[Datagram]:
        """The datagrams among them."""
        return (seen for seen in self.seen() if isinstance(seen, Datagram))

    def seen(self) -> "Iterator[Datagram | Segment]":
        """The datagrams and the segments among them that carry anything."""
        for packet in self.packets():
            at = (packet[0] & 15) * 4
            source, target, length, _ = _UDP.unpack_from(packet, at)
            ends = (socket.inet_ntoa(packet[12:16]), source), (socket.inet_ntoa(packet[16:20]), target)
            if packet[9] == socket.IPPROTO_UDP:
                yield Datagram(*ends, packet[at + 8 : at + length])
            elif packet[9] == socket.IPPROTO_TCP:
                end = int.from_bytes(packet[2:4], "big") or len(packet)
                yield Segment(*ends, packet[at + (packet[at + 12] >> 4) * 4 : end])


@frozen
class Segment:
    """What a TCP packet carries."""

    source: Address
    target: Address
    payload: bytes


@define(eq=False)
class Forger:
    """Sends datagrams from any address."""

    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)

    def close(self) -> None:
        self._socket.close()

    def send(self, source: Address, target: Address, payload: bytes) -> None:
        """Send a datagram that seems to come from `source`."""
        udp = _UDP.pack(source[1], target[1], 8 + len(payload), 0) + payload
        hosts = socket.inet_aton(source[0]), socket.inet_aton(target[0])
        # The kernel fills in the length, the number and the checksum.
        head = _IP.pack(0x45, 0, 0, 0, 0, FORGED_TTL, socket.IPPROTO_UDP, 0, *hosts)
        self._socket.sendto(head + udp, (target[0], 0))
