"""Networks for tests: what they can do, and that nothing of them is left."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14 import DhtError, NoNode, Refused, StartError
from dht14.testing import AsyncCluster, Cluster, testnet
from tests.embedding.open_files import open_files
from tests.process.nodes import DHT14, TIMEOUT, TOP, environment, eventually, run_program
from tests.process.ports import free_port

FORGETFUL = """
import time
from dht14.testing import testnet
cluster = testnet(3).__enter__()
print(cluster.folder, *cluster.pids, flush=True)
time.sleep(600)
"""


def children(pid: int) -> set[int]:
    """The processes below this one, as far as they have not ended."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= set(map(int, path.read_text().split()))
    return found.union(*map(children, found))


def is_running(pid: int | None) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def kill_process(pid: int | None) -> None:
    """Kill a node behind the back of its host."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid), "a dead node")


class LeftoverTestCase(SynchronousTestCase):
    """Notes what there is before a test, and compares after it."""

    def setUp(self) -> None:
        self.temporary = Path(self.mktemp()).absolute()
        self.temporary.mkdir()
        self.patch(tempfile, "tempdir", str(self.temporary))
        self.files, self.children = open_files(), children(os.getpid())
        self.threads = threading.active_count()

    def assert_nothing_left(self) -> None:
        self.assertEqual(children(os.getpid()), self.children)
        self.assertEqual(open_files(), self.files)
        self.assertEqual(list(self.temporary.iterdir()), [])
        self.assertEqual(threading.active_count(), self.threads)

    def run_async(self, use: Callable[[AsyncCluster], Any], nodes: int = 3, **options: Any) -> Any:
        """Let a coroutine function use a network; return its result."""

        async def main() -> Any:
            async with testnet(nodes, **options) as cluster:
                return await use(cluster)

        return asyncio.run(main())


class ClusterTests(LeftoverTestCase):
    def test_five(self) -> None:
        """Five nodes are ready when the block begins: each finds what another one has stored everywhere."""
        with testnet(5) as cluster:
            for number, client in enumerate(cluster.clients):
                self.assertEqual(client.put(b"%d" % number, key=f"key {number}").copies, 5)
            for number, client in enumerate(cluster.clients):
                found = client.get(f"key {(number + 2) % 5}")
                self.assertEqual(found and found.value, b"%d" % ((number + 2) % 5))
            log = Path(cluster.folder, "node-4", "node.log").read_text()
            self.assertIn("Joined the network", log)
        self.assert_nothing_left()

    def test_kill(self) -> None:
        """Killed nodes are dead at once; the others answer; started again they have their addresses and
        values."""
        with testnet(5) as cluster:
            cluster.clients[0].put(b"hello", key="greeting")
            before, addresses = cluster.pids, cluster.addresses
            cluster.kill(0, 1)
            cluster.kill(0)
            self.assertEqual(cluster.pids, (None, None, *before[2:]))
            self.assertFalse(is_running(before[0]) or is_running(before[1]))
            self.assertRaises(NoNode, cluster.clients[0].get, "greeting")
            found = cluster.clients[4].get("greeting")
            self.assertEqual(found and found.value, b"hello")
            cluster.kill(2, 3, 4)
            cluster.start(0, 1)
            cluster.start(0)
            found = cluster.clients[1].get("greeting")
            self.assertEqual(found and found.value, b"hello")
            self.assertEqual(cluster.addresses, addresses)
            self.assertNotIn(cluster.pids[0], before)
        self.assert_nothing_left()

    def test_killed_by_process(self) -> None:
        """A node that ends by itself, or is killed by its process number, is dead like others: the network
        goes on, and it can be started again."""
        with testnet(3) as cluster:
            cluster.clients[0].put(b"hello", key="greeting")
            for pid in cluster.pids[:2]:
                kill_process(pid)
            cluster.heal()
            self.assertEqual(cluster.pids[:2], (None, None))
            cluster.start(0)
            cluster.start(1)
            kill_process(cluster.pids[2])
            cluster.start(2)
            for number in range(3):
                eventually(partial(self.finds, cluster, number, "greeting"), "what was put")
        self.assert_nothing_left()

    def test_partition(self) -> None:
        """Nothing gets across a partition, neither small nor large values; after it has healed all finds
        through."""
        large = b"x" * 60_000
        with testnet(5) as cluster:
            cluster.clients[0].put(large, key="before")
            cluster.partition([0, 1], [2, 3, 4])
            self.assertRaises(Refused, cluster.clients[1].put, b"lost", key="minority")
            small, big = (
                cluster.clients[2].put(b"small", key="small"),
                cluster.clients[2].put(large, key="big"),
            )
            self.assertEqual((small.copies, big.copies), (3, 3))
            for key in ("small", "big"):
                self.assertFalse(self.finds(cluster, 0, key))
                self.assertTrue(self.finds(cluster, 4, key))
            cluster.heal()
            for key in ("small", "big"):
                eventually(partial(self.finds, cluster, 0, key), "what the others have")
        self.assert_nothing_left()

    def test_killed_in_partition(self) -> None:
        """A node that is started again during a partition is on its side of it."""
        with testnet(4) as cluster:
            cluster.partition([0], [1, 2, 3])
            cluster.kill(0)
            cluster.start(0)
            cluster.clients[1].put(b"hello", key="greeting")
            self.assertFalse(self.finds(cluster, 0, "greeting"))
            cluster.heal()
            eventually(lambda: self.finds(cluster, 0, "greeting"), "what the others have")
        self.assert_nothing_left()

    def finds(self, cluster: Cluster, number: int, key: str) -> bool:
        try:
            return cluster.clients[number].get(key) is not None
        except DhtError:
            return False

    def test_options(self) -> None:
        """Options are those of the configuration; wrong ones end the start with the reason."""
        with testnet(2, max_ttl=90, replication=1) as cluster:
            cluster.clients[0].put(b"hello", key="greeting", ttl=3_600)
            found = cluster.clients[1].get("greeting")
            assert found is not None
            assert found.expires_in is not None
            self.assertLessEqual(found.expires_in, 90)
        mistakes: tuple[tuple[dict[str, Any], str], ...] = (
            ({"replicaton": 3}, "did you mean replication?"),
            ({"max_ttl": 0}, "max_ttl: 0"),
        )
        for options, word in mistakes:
            error = self.assertRaises(StartError, testnet(1, **options).__enter__)
            self.assertIn(word, str(error))
        self.assertRaises(TypeError, testnet(1, replication=object()).__enter__)
        self.assertRaises(StartError, self.run_async, None, replicaton=3)
        self.assert_nothing_left()

    def test_keep(self) -> None:
        """A folder that is kept has the values for the next network."""
        folder = Path(self.mktemp())
        with testnet(2, keep=folder) as cluster:
            cluster.clients[0].put(b"hello", key="greeting")
        with testnet(2, keep=folder) as cluster:
            found = cluster.clients[1].get("greeting")
            self.assertEqual(found and found.value, b"hello")
        self.assert_nothing_left()


class EndTests(LeftoverTestCase):
    """However the block ends."""

    def test_failed(self) -> None:
        """A failed test leaves nothing, and its error goes on."""

        async def fail(cluster: AsyncCluster) -> None:
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.run_async, fail)
        self.assert_nothing_left()
        with contextlib.suppress(ZeroDivisionError), testnet(1):
            raise ZeroDivisionError
        self.assert_nothing_left()

    def test_cancelled(self) -> None:
        """So does a cancelled one, at any moment: while it starts, waits for a call, or gives an order."""

        async def main(delay: float, use: Callable[[AsyncCluster], Any]) -> None:
            async def block() -> None:
                async with testnet(2) as cluster:
                    entered.set()
                    await use(cluster)

            entered = asyncio.Event()
            task = asyncio.ensure_future(block())
            if delay:
                await asyncio.sleep(delay)
            else:
                await asyncio.wait_for(entered.wait(), TIMEOUT)
                await asyncio.sleep(0)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task], timeout=TIMEOUT)
            self.assertTrue(task.cancelled())

        async def get_all(cluster: AsyncCluster) -> None:
            await asyncio.gather(*(cluster.clients[0].get(f"key {n}") for n in range(100)))
            await asyncio.Event().wait()

        async def give_orders(cluster: AsyncCluster) -> None:
            while True:
                await cluster.kill(1)
                await cluster.start(1)

        for delay, use in ((0.001, get_all), (0.4, get_all), (0.0, get_all), (0.0, give_orders)):
            asyncio.run(main(delay, use))
            self.assert_nothing_left()

    def test_orders_at_once(self) -> None:
        """Tasks may give orders at the same time; a cancelled order is carried out."""

        async def use(cluster: AsyncCluster) -> None:
            await asyncio.gather(cluster.kill(0), cluster.partition([0], [1, 2]), cluster.kill(1))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(cluster.start(0, 1), 0.001)
            await cluster.heal()
            self.assertNotIn(None, cluster.pids)
            await cluster.clients[0].put(b"hello", key="greeting")

        self.run_async(use)
        self.assert_nothing_left()

    def test_killed_tests(self) -> None:
        """If the process of the tests is killed, nodes, host and folder disappear."""
        tests = self.forgetful()
        folder, *pids = self.first_line(tests).split()
        below = children(tests.pid)
        self.assertLess(set(map(int, pids)), below)
        tests.kill()
        tests.wait()
        eventually(lambda: not any(map(is_running, below)), "the end of all processes")
        eventually(lambda: not Path(folder).exists(), "the end of the folder")

    def test_killed_host(self) -> None:
        """If the host is killed, its nodes die; the next order says so, and the block ends as ever."""
        with testnet(3) as cluster:
            (host,) = children(os.getpid()) - self.children - {pid for pid in cluster.pids if pid is not None}
            pids = cluster.pids
            os.kill(host, signal.SIGKILL)
            eventually(lambda: not any(map(is_running, pids)), "the end of the nodes")
            self.assertRaises(StartError, cluster.kill, 0)
        self.assert_nothing_left()

    def test_once(self) -> None:
        """A network is for one block, and refuses orders after it."""
        network = testnet(1)
        with network as cluster:
            pass
        self.assertRaises(RuntimeError, cluster.kill, 0)
        self.assertRaises(RuntimeError, network.__enter__)
        self.assert_nothing_left()

    def forgetful(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", FORGETFUL],
            env={**environment({}), "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(end, process)
        return process

    def first_line(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline()


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process that may have ended, and close what is connected to it."""
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


class CommandTests(LeftoverTestCase):
    """`dht14 testnet` on a terminal."""

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*DHT14, "testnet", *words],
            env={**environment({}), "TMPDIR": str(self.temporary)},
            cwd=TOP,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(end, process)
        return process

    def nodes(self, process: "subprocess.Popen[str]", count: int) -> list[dict[str, Any]]:
        """The nodes that it prints."""
        assert process.stdout is not None
        return [json.loads(process.stdout.readline()) for _ in range(count)]

    def dht14(self, *words: str) -> str:
        ended = run_program(*DHT14, *words, folder=TOP)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout

    def test_signals(self) -> None:
        """It prints where each node is, works, and at each of the signals ends with all nodes, and exit 0."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.begin("3")
            nodes = self.nodes(process, 3)
            self.assertEqual([node["node"] for node in nodes], [0, 1, 2])
            if number == signal.SIGINT:
                self.dht14("put", "greeting", "hello", "--api-address", nodes[0]["api"])
                self.assertEqual(self.dht14("get", "greeting", "--api-address", nodes[2]["api"]), "hello")
            # As a terminal does: to all processes that were started from it.
            os.killpg(process.pid, number)
            out, errors = process.communicate(timeout=TIMEOUT)
            self.assertEqual((process.returncode, out), (0, ""), errors)
            self.assertRegex(errors, r"\ANodes ready: 3, after \d+\.\d s; Ctrl-C ends the network\n\Z")
            self.assertFalse(any(is_running(node["pid"]) for node in nodes))
            self.assertEqual(list(self.temporary.iterdir()), [])

    def test_keep(self) -> None:
        """With --keep the next network has the values; --api-port names the ports; each node can be looked
        into at its directory."""
        # The path of a Unix socket must be short; that of a test is not.
        temporary = tempfile.TemporaryDirectory(prefix="dht14-", dir="/tmp")
        self.addCleanup(temporary.cleanup)
        folder, port = Path(temporary.name), free_port()
        for words in (("put", "greeting", "hello"), ("get", "greeting")):
            process = self.begin("2", "--keep", str(folder), "--api-port", str(port))
            nodes = self.nodes(process, 2)
            addresses = [node["api"] for node in nodes]
            self.assertIn("All is well.", self.dht14("status", "--data-dir", nodes[1]["data_dir"]))
            self.assertEqual(addresses, [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"])
            out = self.dht14(*words, "--api-address", addresses[1])
            process.terminate()
            self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertEqual(out, "hello")
        self.assertTrue((folder / "node-1" / "node.log").exists())

    def test_deaths(self) -> None:
        """A node that dies is reported; when all are dead the command ends. Killed itself it leaves no
        process."""
        process = self.begin("2")
        nodes = self.nodes(process, 2)
        for node in nodes:
            os.kill(node["pid"], signal.SIGKILL)
        _, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 3, errors)
        self.assertIn("node 0 has ended\n", errors)
        self.assertIn("all nodes have ended", errors)
        process = self.begin("2")
        pids = [node["pid"] for node in self.nodes(process, 2)]
        process.kill()
        eventually(lambda: not any(map(is_running, pids)), "the end of the nodes")

    def test_taken(self) -> None:
        """A port that is taken ends the command with the reason, and nothing is left."""
        port = free_port()
        first = self.begin("1", "--api-port", str(port))
        self.nodes(first, 1)
        second = self.begin("2", "--api-port", str(port))
        out, errors = second.communicate(timeout=TIMEOUT)
        self.assertEqual((second.returncode, out), (3, ""))
        self.assertIn(f"cannot listen on 127.0.0.1 TCP port {port}", errors)
        first.terminate()
        first.wait(TIMEOUT)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_interrupted(self) -> None:
        """A signal before the nodes are ready ends it: Ctrl-C with 130, SIGTERM with 0. Nothing is left."""
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
            process = self.begin("20")
            eventually(partial(self.has_nodes, process), "the first nodes")
            below = children(process.pid)
            process.send_signal(number)
            out, errors = process.communicate(timeout=TIMEOUT)
            self.assertIn((process.returncode, bool(out)), ((code, False), (0, True)), errors)
            self.assertFalse(any(map(is_running, below)))
        self.assertEqual(list(self.temporary.iterdir()), [])

    @staticmethod
    def has_nodes(process: "subprocess.Popen[str]") -> bool:
        return len(children(process.pid)) > 1
