"""Datagrams that are lost on the way to real nodes, as with netem, but on every kernel.

A filter at the sockets of a process discards what comes, at random. The process knows nothing of it: the
filter is attached from outside, to the same sockets. Linux permits that to the parent of a process.
"""

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from attrs import define, field
from twisted.trial.unittest import SkipTest

from tests.process.rivals import Rivals

_PIDFD_GETFD = 438
_SO_ATTACH_FILTER = 26
_LOAD_WORD, _JUMP_IF_GREATER_OR_EQUAL, _RETURN = 0x20, 0x35, 0x06
"""Instructions of classic BPF: ld [k], jge #k, ret #k."""
_RANDOM = 2**32 - 0x1000 + 56
"""The place of a random word (SKF_AD_OFF + SKF_AD_RANDOM)."""

SOCKETS = 2
"""UDP sockets of a node: its own, and that from which it probes."""


def lose(process: int, part: float) -> int:
    """Let this part of the datagrams be lost that come to the sockets of a process; return the number of
    these sockets. Raises SkipTest where that is not permitted."""
    found = 0
    for udp in _datagram_sockets(process):
        with udp:
            _attach(udp, part)
        found += 1
    return found


def _datagram_sockets(process: int) -> Iterator[socket.socket]:
    """Yield copies of the UDP sockets of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(process)
    try:
        for name in os.listdir(f"/proc/{process}/fd"):
            with suppress(FileNotFoundError):
                if not os.readlink(f"/proc/{process}/fd/{name}").startswith("socket:"):
                    continue
                copy = libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
                if copy < 0:
                    if (error := ctypes.get_errno()) in (errno.EPERM, errno.ENOSYS):
                        raise SkipTest(f"sockets of other processes are out of reach: {os.strerror(error)}")
                    continue  # It has been closed meanwhile.
                found = socket.socket(fileno=copy)
                if found.type is socket.SOCK_DGRAM and found.family is not socket.AF_UNIX:
                    yield found
                else:
                    found.close()
    finally:
        os.close(pidfd)


def _attach(udp: socket.socket, part: float) -> None:
    program = (
        (_LOAD_WORD, 0, 0, _RANDOM),
        (_JUMP_IF_GREATER_OR_EQUAL, 1, 0, int((1.0 - part) * 0xFFFF_FFFF)),
        (_RETURN, 0, 0, 0xFFFF_FFFF),
        (_RETURN, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    udp.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


@define
class Loss:
    """Loses a part of all datagrams, also at nodes that were killed and begun again."""

    part: float
    happened: int = field(default=0, init=False)
    """The processes that it was done to."""

    def __call__(self, rivals: Rivals, until: float) -> None:
        """Do it until then."""
        done: set[int] = set()
        while time.monotonic() < until:
            for process in rivals.processes() - done:
                # One that has just been killed has no sockets, one that has just begun not yet all.
                with suppress(ProcessLookupError, PermissionError, FileNotFoundError):
                    if lose(process, self.part) >= SOCKETS:
                        done.add(process)
            self.happened = len(done)
            time.sleep(0.1)
