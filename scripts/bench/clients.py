"""Question: how many gets a second does a Python client bring, beside a bare socket?

Two servers, each in a process of its own: a node alone with values of 100 bytes in its own store, and canned
replies that cost nearly nothing, where the client alone is the limit. B is a bare blocking socket that keeps
as many GET RECORDs under way and counts reply bytes without reading them. Taken in turns; medians, the ratio
to B, and the time of the client's processor for one get.

python scripts/bench/clients.py [ROUNDS]
"""

import asyncio
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dht14 import Client, aio
from dht14.wire.api_messages import encode_get_record, encode_record

GETS = 10_000
VALUES = 500
IN_FLIGHT = 64
VALUE_BYTES = 100
REQUEST_BYTES, REPLY_BYTES = 37, 49 + VALUE_BYTES
UNLIMITED = "[rate_limiter]\nrequests_per_second = 0\n[security]\ndifficulty = 0\n"

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
    "B: bare socket": raw,
    "asyncio, 64 tasks": asyncio_tasks,
    "asyncio, get_many": asyncio_many,
    "blocking, get_many": blocking_many,
    "blocking, one by one": blocking_each,
}


def answer_canned(port: int) -> None:
    """Answer every GET RECORD with the same value, for ever."""
    reply = encode_record(bytes(32), 1, 7, 60, bytes(VALUE_BYTES))
    head, tail = reply[:4], reply[36:]
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                rest = b""
                while piece := connection.recv(65_536):
                    rest += piece
                    whole = len(rest) // REQUEST_BYTES * REQUEST_BYTES
                    keys = (rest[at + 4 : at + 36] for at in range(0, whole, REQUEST_BYTES))
                    rest, replies = rest[whole:], b"".join(head + key + tail for key in keys)
                    connection.sendall(replies)


def main(rounds: int) -> None:
    """Measure with both servers."""
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds, medians")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.ini").write_text(UNLIMITED)
        port = _free_port()
        words = ["--p2p-address", f"127.0.0.1:{_free_port()}", "--api-address", f"127.0.0.1:{port}"]
        run = "from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", run, "-n", "dht14", "--config", "config.ini", *words]
        with _server(command, port, folder):
            with Client(f"127.0.0.1:{port}") as client:
                stored = [client.put(b"%100d" % n, key=f"value {n}").key for n in range(VALUES)]
            keys = (stored * (GETS // VALUES + 1))[:GETS]
            _compare("a node", port, keys, rounds)
        port = _free_port()
        with _server([sys.executable, __file__, "canned", str(port)], port, folder):
            _compare("canned replies", port, keys, rounds)


def _compare(server: str, port: int, keys: list[bytes], rounds: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in ROUNDS}
    used: dict[str, list[float]] = {name: [] for name in ROUNDS}
    for _ in range(rounds):
        for name, run in ROUNDS.items():
            began, cpu = time.perf_counter(), time.process_time()
            run(port, keys)
            wall[name].append(GETS / (time.perf_counter() - began))
            used[name].append((time.process_time() - cpu) / GETS * 1e6)
    base = statistics.median(wall["B: bare socket"])
    print(server)
    for name in ROUNDS:
        rate, cpu = statistics.median(wall[name]), statistics.median(used[name])
        print(f"  {name:22}{rate:9.0f} gets/s{rate / base:7.2f} B{cpu:8.1f} µs of client CPU")


@contextmanager
def _server(command: list[str], port: int, folder: str) -> Iterator[None]:
    """Run a server of this port for a `with` block."""
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        else:
            raise SystemExit("the server did not start")
        yield
    finally:
        server.terminate()
        server.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    if sys.argv[1:2] == ["canned"]:
        answer_canned(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
