"""Real twistd processes on 127.0.0.1, and a small client of their APIs. Everything here blocks."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field, frozen

from dht14.records.receipt import Receipt
from dht14.wire import api_messages
from dht14.wire.api_messages import Failure, PutReceipt, Success
from tests.process.ports import free_port

T = TypeVar("T")

TOP = Path(__file__).parent.parent.parent
# Not the script twistd: it may be that of another environment, and some have none.
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
DHT14 = (sys.executable, "-c", "import sys; from dht14.cmd.main import main; sys.exit(main())")
DIFFICULTY = 1
"""Of the proof of work in these networks: low, so that tests need not wait for it."""
TIMEOUT = 60.0
"""Seconds after which a test gives up."""


def eventually(condition: Callable[[], T | None], what: str, timeout: float = TIMEOUT) -> T:
    """Return the first true result of `condition`. Raises AssertionError when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(0.02)
    return result


class VoidPhone(contextlib.AbstractContextManager["VoidPhone"]):
    """A client of the API on one connection."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._received = self.socket.makefile("rb")

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._received.close()
        self.socket.close()

    def put(self, key: bytes, value: bytes, ttl: int = 600, replication: int = 0) -> bool:
        """Put; return whether the network acknowledged it."""
        self.socket.sendall(api_messages.encode_put(ttl, replication, key, value))
        return isinstance(self.reply(), Success)

    def put_with_receipt(self, key: bytes, value: bytes, ttl: int = 600, replication: int = 0) -> Receipt:
        """Put; return the receipt."""
        self.socket.sendall(api_messages.encode_put(ttl, replication, key, value, receipt=True))
        reply = api_messages.decode_reply(self._frame())
        assert isinstance(reply, PutReceipt), reply
        return reply.receipt

    def get(self, key: bytes) -> bytes | None:
        """Get; return the value, or None."""
        self.socket.sendall(api_messages.encode_get(key))
        reply = self.reply()
        return reply.value if isinstance(reply, Success) else None

    def reply(self) -> Success | Failure:
        """Return the next reply. Raises ConnectionError when the node closes the connection instead."""
        reply = api_messages.decode_reply(self._frame())
        assert isinstance(reply, Success | Failure), reply
        return reply

    def _frame(self) -> bytes:
        head = self._received.read(2)
        frame = head + self._received.read(int.from_bytes(head, "big") - 2 if len(head) == 2 else 0)
        if len(frame) < 4:
            raise ConnectionError("the node hung up")
        return frame


@define(eq=False)
class Twistd:
    """One process, with its files in `folder`."""

    folder: Path
    words: tuple[str, ...]
    p2p_port: int
    api_port: int | None
    environment: Mapping[str, str] = field(factory=dict)
    host: str = "127.0.0.1"
    """Its host for other nodes."""
    program: tuple[str, ...] = TWISTD
    """The program that runs with the words."""
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self) -> "Twistd":
        """Start it, for the first time or again."""
        with open(self.folder / "stdout", "ab") as out, open(self.folder / "stderr", "ab") as err:
            self.process = subprocess.Popen(
                [*self.program, *self.words],
                cwd=self.folder,
                env=environment(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        return self

    @property
    def at(self) -> tuple[str, int]:
        """The source address of its datagrams."""
        return self.host, self.p2p_port

    @property
    def address(self) -> str:
        """The same as text, for `--bootstrap`."""
        return f"{self.host}:{self.p2p_port}"

    def events(self) -> list[dict[str, Any]]:
        """Return its log so far, without a line that is still being written."""
        whole, _, _ = (self.folder / "stdout").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def stderr(self) -> str:
        """Return its stderr."""
        return (self.folder / "stderr").read_text()

    def wait_for(self, what: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Return the first event whose template contains `what`."""

        def found() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the node ended: {self.stderr()}"
            return next((event for event in self.events() if what in event["template"]), None)

        return eventually(found, f"the event {what!r}", timeout)

    def wait_for_api(self, timeout: float = TIMEOUT) -> "Twistd":
        """Return once its API accepts connections."""
        assert self.api_port is not None
        port = self.api_port

        def answers() -> bool:
            assert self.process.poll() is None, f"the node ended: {self.stderr()}"
            with contextlib.suppress(ConnectionRefusedError):
                VoidPhone(port).close()
                return True
            return False

        eventually(answers, "the API", timeout)
        return self

    def wait_until_listening(self) -> "Twistd":
        """Return once it hears other nodes: later than clients, for whom it needs no proof of work."""
        self.wait_for("Listening on")
        return self

    def client(self) -> VoidPhone:
        """Open a connection to its API."""
        assert self.api_port is not None
        return VoidPhone(self.api_port)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; return the exit code, negative when a signal ended it."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        return self.kill(signal.SIGTERM)


@frozen
class Network:
    """The processes of one test. `stop` kills those that still run."""

    folder: Path
    processes: list[Twistd] = field(factory=list)
    hosts: str = "127.0.0.1"
    """The host of each node for the others, with its number in place of {}."""

    def node(
        self,
        *words: str,
        seeds: tuple[Twistd, ...] = (),
        environment: Mapping[str, str] | None = None,
        program: tuple[str, ...] = TWISTD,
    ) -> Twistd:
        """Start a node that joins through `seeds`."""
        port, api_port = free_port(), free_port()
        api = ("--api-address", f"127.0.0.1:{api_port}")
        return self._start("dht14", port, api_port, (*api, *words), seeds, environment, program)

    def bootstrap_node(self, *words: str, seeds: tuple[Twistd, ...] = ()) -> Twistd:
        """Start a bootstrap node."""
        return self._start("dht14-bootstrap", free_port(), None, words, seeds, None)

    def cluster(
        self,
        nodes: int,
        timeout: float = TIMEOUT,
        data_dirs: Sequence[str] = (),
        environments: Mapping[int, Mapping[str, str]] | None = None,
        program: tuple[str, ...] = TWISTD,
    ) -> list[Twistd]:
        """Start two bootstrap nodes and `nodes` nodes; return the latter when they have joined. The first
        ones have these data directories, some by their number these environments."""
        first = self.bootstrap_node()
        seeds = (first, self.bootstrap_node(seeds=(first,)))
        words = [("--data-dir", data_dir) for data_dir in data_dirs]
        cluster = [
            self.node(
                *(words[number] if number < len(words) else ()),
                seeds=seeds,
                environment=(environments or {}).get(number),
                program=program,
            )
            for number in range(nodes)
        ]
        for node in cluster:
            node.wait_for("Joined", timeout)
            node.wait_for_api(timeout)
        return cluster

    def _start(
        self,
        plugin: str,
        port: int,
        api_port: int | None,
        words: tuple[str, ...],
        seeds: tuple[Twistd, ...],
        environment: Mapping[str, str] | None,
        program: tuple[str, ...] = TWISTD,
    ) -> Twistd:
        folder = self.folder / f"{len(self.processes)}-{plugin}"
        folder.mkdir(parents=True)
        host = self.hosts.format(len(self.processes))
        whole = ["-n", plugin, "--p2p-address", f"{host}:{port}", "--log-format", "json"]
        for seed in seeds:
            whole += ["--bootstrap", seed.address]
        twistd = Twistd(folder, (*whole, *words), port, api_port, environment or {}, host, program)
        self.processes.append(twistd)
        return twistd.start()

    def stop(self) -> None:
        """Kill every process that still runs."""
        for twistd in self.processes:
            if twistd.process.poll() is None:
                twistd.process.kill()
        for twistd in self.processes:
            twistd.process.wait(TIMEOUT)


@contextlib.contextmanager
def network(folder: str, hosts: str = "127.0.0.1") -> Iterator[Network]:
    """A network for a `with` block; `hosts` as in `Network`."""
    processes = Network(Path(folder).absolute(), hosts=hosts)
    try:
        yield processes
    finally:
        processes.stop()


def run_twistd(
    *words: str, folder: Path, extra: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a twistd that ends by itself (a daemon: until it is in the background)."""
    return run_program(*TWISTD, *words, folder=folder, extra=extra)


def run_program(
    *words: str | Path, folder: Path, extra: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program in a folder until it ends, with `environment(extra)`."""
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(extra or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without settings of nodes, and with this checkout first in the path."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DHT14_")}
    path = os.pathsep.join(filter(None, [str(TOP), ours.get("PYTHONPATH")]))
    easy = {"DHT14_SECURITY_DIFFICULTY": str(DIFFICULTY)}
    return {**ours, "PYTHONPATH": path, **easy, **extra}
