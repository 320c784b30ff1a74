"""What happens to real nodes while clients use them: partitions, stops, full disks, clocks that are set.

A partition needs a network namespace, a full disk a mount namespace: only root can make them. In the network
each node has an address of its own, `HOSTS`. Datagrams and connections between the two sides are lost in
silence, as they are on the way between two places.
"""

import ctypes
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SkipTest

from tests.process.rivals import Rivals

HOSTS = "198.18.{}.1"
"""Of the node with a number: each is in a subnet of its own."""
SIDES = "198.18.0.0/21", "198.18.8.0/21"
"""The nodes up to number 7, and those from 8 to 15."""
_WAYS = (SIDES, SIDES[::-1])
_NOWHERE = "200"
"""A routing table that leads to a device at which nobody reads."""
_DEVICE = "nowhere"
DISK_BYTES = 3 << 20
_CLONE_NEWNS = 0x00020000


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def prepare_partition() -> None:
    """Let rules come before the addresses of this host; in a `Space`."""
    commands = (
        f"tuntap add mode tun {_DEVICE}",
        f"link set {_DEVICE} up",
        f"route add default dev {_DEVICE} table {_NOWHERE}",
        "rule add pref 100 lookup local",
        "rule del pref 0",
    )
    try:
        for words in commands:
            _ip(words)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SkipTest(f"the network cannot be divided here: {error}") from None


@contextmanager
def divided() -> Iterator[None]:
    """Divide the network meanwhile."""
    rules = [f"pref {10 + n} from {side} to {far} lookup {_NOWHERE}" for n, (side, far) in enumerate(_WAYS)]
    for rule in rules:
        _ip(f"rule add {rule}")
    try:
        yield
    finally:
        for rule in rules:
            _ip(f"rule del {rule}")


@define
class Partition:
    """Divides the network once, `after` seconds from the beginning, for some seconds."""

    after: float
    seconds: float
    happened: int = field(default=0, init=False)

    def __call__(self, rivals: Rivals, until: float) -> None:
        """Do it; clients go on at both sides."""
        time.sleep(self.after)
        rivals.partitioned()
        try:
            with divided():
                time.sleep(self.seconds)
        finally:
            rivals.healed()
        self.happened += 1


@define
class Stops:
    """Stops one node after another by SIGSTOP, as a host does that is suspended, and lets it go on."""

    a_minute: float
    seconds: float = 8.0
    """A node stops for at most as long."""
    happened: int = field(default=0, init=False)
    _rng: random.Random = field(factory=lambda: random.Random(1), init=False)

    def __call__(self, rivals: Rivals, until: float) -> None:
        """Do it until then."""
        while time.monotonic() + self.seconds < until:
            with rivals.without_a_node() as node:
                os.kill(node.process.pid, signal.SIGSTOP)
                try:
                    time.sleep(self._rng.uniform(0.5, self.seconds))
                finally:
                    os.kill(node.process.pid, signal.SIGCONT)
            self.happened += 1
            time.sleep(self._rng.expovariate(self.a_minute / 60.0))


@define
class ClockSteps:
    """Sets the clocks of hosts, one after another: right, or some minutes or hours ahead or back."""

    a_minute: float
    happened: int = field(default=0, init=False)
    _rng: random.Random = field(factory=lambda: random.Random(1), init=False)

    def __call__(self, rivals: Rivals, until: float) -> None:
        """Do it until then."""
        rng = self._rng
        while (pause := rng.expovariate(self.a_minute / 60.0)) < until - time.monotonic():
            time.sleep(pause)
            far = rng.choice((0.0, rng.uniform(0.01, 1.0), rng.uniform(1.0, 25.0)))
            rivals.set_a_clock(far * rng.choice((-1, 1)))
            self.happened += 1


class SmallDisks(AbstractContextManager["SmallDisks"]):
    """Disks of a few MiB for some nodes, in a mount namespace of this thread."""

    def __init__(self, folder: Path, count: int) -> None:
        """Mount them at `folder/disk-N`. Raises SkipTest where that is not permitted."""
        self._outside = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
        self._libc = ctypes.CDLL(None, use_errno=True)
        if self._libc.unshare(_CLONE_NEWNS):
            os.close(self._outside)
            raise SkipTest("only root may make a mount namespace")
        self.folders = [folder / f"disk-{number}" for number in range(count)]
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
            for disk in self.folders:
                disk.mkdir(parents=True)
                options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(disk)]
                subprocess.run(["mount", *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise SkipTest(f"a disk cannot be mounted here: {error}") from None

    def __exit__(self, *error: object) -> None:
        """Remove them, and go back; the nodes must have ended."""
        for disk in self.folders:
            subprocess.run(["umount", "--lazy", str(disk)], check=False, capture_output=True)
        here = os.getcwd()
        self._libc.setns(self._outside, _CLONE_NEWNS)
        os.close(self._outside)
        os.chdir(here)


@define
class FullDisks:
    """Fills the disks of some nodes one after another, and makes room again."""

    disks: Sequence[Path]
    seconds: float = 5.0
    happened: int = field(default=0, init=False)

    def __call__(self, rivals: Rivals, until: float) -> None:
        """Do it until then. The nodes go on: what they cannot write they refuse."""
        while time.monotonic() + 2 * self.seconds < until:
            for disk in self.disks:
                ballast = disk / "ballast"
                try:
                    _fill(ballast)
                    time.sleep(self.seconds)
                finally:
                    ballast.unlink()
                self.happened += 1
            time.sleep(self.seconds)


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
