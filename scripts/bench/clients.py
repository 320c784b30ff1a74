"""Question: how many gets a second does a client bring from a node of its host, beside a bare socket?

One node alone, values of 100 bytes in its own store, its own process. B is a raw blocking socket that keeps as many
GET RECORDs under way and counts reply bytes without reading them: what the node itself can do. The others are the asyncio
client (tasks, and `get_many`) and the blocking one (`get_many`, and one call after another). Taken in turns;
medians, the ratio to B, and the time of the client's processor for one get.

    python scripts/bench/clients.py [ROUNDS]
"""

import asyncio
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dht14 import Client, aio
from dht14.wire.api_messages import encode_get_record

GETS = 10_000
VALUES = 500
IN_FLIGHT = 64
VALUE_BYTES = 100
REPLY_BYTES = 49 + VALUE_BYTES
UNLIMITED = (
    "[rate_limiter]\nrequests_per_second = 0\n"
    "[storage]\nrefresh_interval = 900\n"
    "[security]\ndifficulty = 0\n"
)

Round = Callable[[int, list[bytes]], None]
"""Gets GETS values from the node at this port."""


def raw(port: int, keys: list[bytes]) -> None:
    """Keep IN_FLIGHT requests under way on a bare socket."""
    frames = [encode_get_record(key) for key in keys]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"".join(frames[:IN_FLIGHT]))
        sent, received = IN_FLIGHT, 0
        while received < GETS * REPLY_BYTES:
            received += len(connection.recv(65_536))
            ready = received // REPLY_BYTES + IN_FLIGHT
            more = frames[sent:ready]
            if more:
                connection.sendall(b"".join(more))
                sent += len(more)


def asyncio_tasks(port: int, keys: list[bytes]) -> None:
    """Tasks that each await one get after another."""

    async def main() -> None:
        async with aio.Client(f"127.0.0.1:{port}") as client:
            left = iter(keys)

            async def work() -> None:
                for key in left:
                    assert await client.get(key) is not None

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    asyncio.run(main())


def asyncio_many(port: int, keys: list[bytes]) -> None:
    """One batch."""

    async def main() -> None:
        async with aio.Client(f"127.0.0.1:{port}") as client:
            assert None not in await client.get_many(keys, concurrency=IN_FLIGHT)

    asyncio.run(main())


def blocking_many(port: int, keys: list[bytes]) -> None:
    """One batch."""
    with Client(f"127.0.0.1:{port}") as client:
        assert None not in client.get_many(keys, concurrency=IN_FLIGHT)


def blocking_each(port: int, keys: list[bytes]) -> None:
    """One get after another."""
    with Client(f"127.0.0.1:{port}") as client:
        for key in keys:
            assert client.get(key) is not None


ROUNDS: dict[str, Round] = {
    "B: raw socket": raw,
    "asyncio, 64 tasks": asyncio_tasks,
    "asyncio, get_many": asyncio_many,
    "blocking, get_many": blocking_many,
    "blocking, one by one": blocking_each,
}


def main(rounds: int) -> None:
    """Start a node, measure, end it."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        node = _node(Path(folder), port)
        try:
            with Client(f"127.0.0.1:{port}") as client:
                stored = [client.put(b"%100d" % n, key=f"value {n}").key for n in range(VALUES)]
            keys = (stored * (GETS // VALUES + 1))[:GETS]
            wall: dict[str, list[float]] = {name: [] for name in ROUNDS}
            used: dict[str, list[float]] = {name: [] for name in ROUNDS}
            for _ in range(rounds):
                for name, run in ROUNDS.items():
                    began, cpu = time.perf_counter(), time.process_time()
                    run(port, keys)
                    wall[name].append(GETS / (time.perf_counter() - began))
                    used[name].append((time.process_time() - cpu) / GETS * 1e6)
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(30)
    base = statistics.median(wall["B: raw socket"])
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds, medians")
    for name in ROUNDS:
        rate = statistics.median(wall[name])
        print(f"{name:22}{rate:9.0f} gets/s{rate / base:7.2f} B{statistics.median(used[name]):8.1f} µs of client CPU")


def _node(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    (folder / "config.ini").write_text(UNLIMITED)
    words = ["--p2p-address", f"127.0.0.1:{_free_port()}", "--api-address", f"127.0.0.1:{port}"]
    run = "from twisted.scripts.twistd import run; run()"
    node = subprocess.Popen(
        [sys.executable, "-c", run, "-n", "dht14", "--config", "config.ini", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return node
        except OSError:
            time.sleep(0.05)
    node.kill()
    raise SystemExit("the node did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
