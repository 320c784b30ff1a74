"""The faults that real nodes are put to are really there. The nodes under them: `tox -e histories`."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.faults import HOSTS, SmallDisks, _fill, divided, prepare_partition
from tests.process.loss import lose
from tests.process.space import Space

ONE, OTHER = HOSTS.format(2), HOSTS.format(9)
SILENCE = 0.3
COUNT_DATAGRAMS = """
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
udp.setblocking(False)
print(udp.getsockname()[1], flush=True)
while input():
    count = 0
    try:
        while udp.recv(100):
            count += 1
    except BlockingIOError:
        print(count, flush=True)
"""


class PartitionTests(SynchronousTestCase):
    def setUp(self) -> None:
        space = Space.enter()
        self.addCleanup(space.leave)
        prepare_partition()
        self.sockets = {host: self.bound(host) for host in (ONE, OTHER, HOSTS.format(3))}

    def bound(self, host: str) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(bound.close)
        bound.bind((host, 5000))
        bound.settimeout(SILENCE)
        return bound

    def arrives(self, source: str, target: str) -> bool:
        """Whether a datagram arrives; none is refused."""
        self.sockets[source].sendto(b"datagram", (target, 5000))
        try:
            return self.sockets[target].recv(100) == b"datagram"
        except TimeoutError:
            return False

    def test_divided(self) -> None:
        """While the network is divided nothing arrives from the other side, in silence."""
        ways = [(ONE, OTHER), (OTHER, ONE), (ONE, HOSTS.format(3))]
        self.assertEqual([self.arrives(*way) for way in ways], [True, True, True])
        with divided():
            self.assertEqual([self.arrives(*way) for way in ways], [False, False, True])
        self.assertEqual([self.arrives(*way) for way in ways], [True, True, True])


class SmallDisksTests(SynchronousTestCase):
    def test_full(self) -> None:
        """A disk that was filled takes nothing more, until there is room again."""
        with tempfile.TemporaryDirectory() as folder, SmallDisks(Path(folder), 1) as disks:
            (disk,) = disks.folders
            _fill(disk / "ballast")
            full = self.assertRaises(OSError, (disk / "value").write_bytes, bytes(4096))
            self.assertEqual(full.errno, errno.ENOSPC)
            (disk / "ballast").unlink()
            (disk / "value").write_bytes(bytes(4096))
            here = os.getcwd()
        self.assertEqual((os.getcwd(), os.path.ismount(disk)), (here, False))


class LossTests(SynchronousTestCase):
    def test_lost(self) -> None:
        """About as many datagrams to another process are lost as they should be, from then on."""
        words = [sys.executable, "-c", COUNT_DATAGRAMS]
        with (
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            orders, results = process.stdin, process.stdout
            assert orders and results
            target = ("127.0.0.1", int(results.readline()))

            def arrived() -> int:
                for _ in range(200):
                    sender.sendto(b"datagram", target)
                orders.write("count\n")
                orders.flush()
                return int(results.readline())

            self.assertEqual(arrived(), 200)
            self.assertEqual(lose(process.pid, 0.5), 1)
            self.assertTrue(50 < arrived() < 150)
            lose(process.pid, 0.0)
            self.assertEqual(arrived(), 200)
            orders.write("\n")
