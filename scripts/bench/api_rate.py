"""Question: how many pipelined GETs of its own values does a node answer a second, beside an echo of Twisted?

Both ends in one process over 127.0.0.1; the client counts bytes and reads nothing of them. The echo returns
each of the same frames with `Int32StringReceiver`. The values are content of 100 bytes, so that one copy is
enough: in memory, or decrypted from the database on disk, each of a few hundred again and again, or each of
many in turn. Taken in turns; medians, the ratio to the echo, and the time of the processor for one.

    python scripts/bench/api_rate.py [ROUNDS]
"""

import os
import platform
import random
import statistics
import struct
import sys
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from storage import _database, _open
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.protocols.basic import Int32StringReceiver

from dht14.kademlia.keyspace import hash_id, id_to_bytes
from dht14.net.api.clients import ApiLimits
from dht14.net.api.factory import ApiFactory
from dht14.net.api.readiness import Readiness
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import NodeTls
from dht14.records.record import Record
from dht14.records.store import LocalStore
from dht14.security.identity import Identity, Puzzle
from dht14.sim.memory_store import MemoryStore
from dht14.stack import StackOptions
from dht14.stack_builder import StackInputs, build_stack
from dht14.wire.api_messages import encode_get

GETS, IN_FLIGHT = 20_000, 64
FEW, MANY, VALUE_BYTES = 500, 4_000, 100
PUZZLE = Puzzle("bench", 0)


class Echo(Int32StringReceiver):
    """Returns each frame."""

    def stringReceived(self, string: bytes) -> None:
        """Return it."""
        self.sendString(string)


class Asker(Protocol):
    """Keeps IN_FLIGHT frames under way and counts the bytes of replies."""

    transport: Any

    def run(self, frames: list[bytes], reply_bytes: int) -> "Deferred[float]":
        """Send all frames; fires with the replies in a second of the processor."""
        self._frames, self._reply_bytes, self._received = frames, reply_bytes, 0
        self._sent = IN_FLIGHT
        self._done: Deferred[float] = Deferred()
        self._began = time.process_time()
        self.transport.write(b"".join(frames[:IN_FLIGHT]))
        return self._done

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._received += len(data)
        answered = self._received // self._reply_bytes
        if more := self._frames[self._sent : answered + IN_FLIGHT]:
            self._sent += len(more)
            self.transport.write(b"".join(more))
        elif answered == len(self._frames):
            self._done.callback(answered / (time.process_time() - self._began))


def _api(reactor: Any, store: LocalStore) -> ApiFactory:
    """Return the API of a node that is alone, over this store."""
    identity = Identity.made_up(PUZZLE, random.Random(1))
    stack = build_stack(
        StackInputs(
            make_store=lambda _: store,
            identity=identity,
            verify_proof=PUZZLE.verify_proof,
            clock=reactor,
            wall=time.time,
            rng=random.Random(1),
            resolve=lambda host, port: succeed([(host, port)]),
            bulk=BulkClient(NodeTls(identity.private_key), PUZZLE.verify_proof, reactor),
            options=StackOptions(),
        )
    )
    readiness = Readiness(reactor, ())
    readiness.node_started(stack.node)
    limits = ApiLimits((ip_network("127.0.0.0/8"),), requests_per_second=0, loopback_requests_per_second=0)
    return ApiFactory(readiness, limits, reactor)


async def _fill(store: LocalStore, now: float) -> list[bytes]:
    """Let the store hold MANY values; return the frames that ask for them."""
    frames, held = [], []
    for number in range(MANY):
        value = random.Random(number).randbytes(VALUE_BYTES)
        key = hash_id(value)
        verdict: Deferred[object] = Deferred()
        record = Record(key=key, value=value, version=0, expires_at=now + 86_400, replication=8)
        store.offer(record, now, verdict.callback)
        frames.append(encode_get(id_to_bytes(key)))
        held.append(verdict)
    for verdict in held:
        await verdict
    return frames


async def _main(reactor: Any, rounds: int, folder: Path) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    async def connect(factory: Any) -> Asker:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
        asker = Asker()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), asker)
        return asker

    database = _database(folder / "sealed", reactor)
    await _open(database)
    memory = MemoryStore(0, 1 << 30, lambda record: True)
    frames = await _fill(memory, reactor.seconds())
    await _fill(database, reactor.seconds())
    few, many = frames[:FEW] * (GETS // FEW), frames * (GETS // MANY)
    echo, api_memory, api_disk = [
        await connect(factory)
        for factory in (Factory.forProtocol(Echo), _api(reactor, memory), _api(reactor, database))
    ]
    echoed = [struct.pack(">I", len(frame)) + frame for frame in few]
    reply = len(frames[0]) + VALUE_BYTES
    questions = {
        "echo of the frames": (echo, echoed, len(echoed[0])),
        "GET, in memory": (api_memory, few, reply),
        f"GET, on disk, {FEW} keys": (api_disk, few, reply),
        f"GET, on disk, {MANY} keys": (api_disk, many, reply),
    }
    rates: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(rounds):
        for name, (asker, asked, size) in questions.items():
            rates[name].append(await asker.run(asked, size))
    database.close()
    base = statistics.median(rates["echo of the frames"])
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds, medians")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:28}{rate:10.0f}/s{rate / base:8.3f} of the echo{1e6 / rate:8.1f} us")


async def _run(reactor: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await _main(reactor, int(sys.argv[1]) if len(sys.argv) > 1 else 5, Path(folder))


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor)))
