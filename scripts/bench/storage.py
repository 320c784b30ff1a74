"""Question: what do sealing, checking and group commit cost over bare LMDB, and does a flush stall the
reactor?

Records of 1 KB in one process: durable puts a second, 64 offered every turn of a reactor; gets; the time
until a database of all of them is open again, its check included; memory. Bare LMDB does the same with the
same bytes in the same batches, without sealing. Then the stalls: a clock that should tick each millisecond
while puts come at a fixed rate; a tick that is late by so much waited for us.

    python scripts/bench/storage.py [RECORDS] [FOLDER]
"""

import os
import platform
import queue
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from dht14.database.database import Database
from dht14.database.entry_format import EntryFormat
from dht14.database.group_commit import MAX_BATCH_PUTS
from dht14.database.vault import Vault
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Verdict

A_TURN = 64
WINDOW = 2048
RATE = 3_000
STALL_SECONDS = 10.0
LIMIT = 4 << 30


class Quiet:
    """A `DatabaseEvents` that reports faults only."""

    def opened(self, records: int) -> None: ...

    def set_aside(self, path: str) -> None:
        raise AssertionError(path)

    def record_damaged(self, total: int) -> None:
        raise AssertionError(total)

    def writing_failed(self, reason: str) -> None:
        raise AssertionError(reason)

    def writing_resumed(self) -> None: ...

    def store_full(self, used: int) -> None:
        raise AssertionError(used)

    def space_available(self) -> None: ...

    def share_used_up(self, total: int) -> None:
        raise AssertionError(total)


def _database(path: Path, reactor: Any) -> Database:
    vault = Vault.unlock(b"k" * 32, b"s" * 32, b"i" * 16, os.urandom)
    events = Quiet()
    return Database(
        path=str(path),
        format=EntryFormat(vault, 0),
        own_id=0,
        limit=LIMIT,
        floor_ttl=86_700,
        answers_for=lambda record: True,
        call_soon=reactor.callFromThread,
        events=events,
        seconds=reactor.seconds,
    )


def _records(count: int, seed: int) -> list[Record]:
    rng, now = random.Random(seed), time.time()
    version = version_at(now)
    return [
        Record(
            key=rng.getrandbits(256),
            value=rng.randbytes(1000),
            version=version,
            expires_at=now + 3600,
            replication=8,
        )
        for _ in range(count)
    ]


def _memory() -> float:
    """Return the MB of this process that do not belong to the file."""
    with open("/proc/self/status", encoding="ascii") as status:
        (anonymous,) = (line.split()[1] for line in status if line.startswith("RssAnon"))
    return int(anonymous) / 1024


async def _open(database: Database) -> float:
    opened: Deferred[None] = Deferred()
    began = time.perf_counter()
    database.open(lambda: opened.callback(None))
    await opened
    return time.perf_counter() - began


async def _puts(reactor: Any, database: Database, records: list[Record]) -> float:
    verdicts: list[Verdict] = []
    began = time.perf_counter()
    for start in range(0, len(records), A_TURN):
        for record in records[start : start + A_TURN]:
            database.offer(record, time.time(), verdicts.append)
        await deferLater(reactor, 0)
        while start + A_TURN - len(verdicts) > WINDOW:
            await deferLater(reactor, 0)
    while len(verdicts) < len(records):
        await deferLater(reactor, 0)
    assert all(verdict.outcome is Outcome.HELD for verdict in verdicts)
    return len(records) / (time.perf_counter() - began)


def _gets(get: Callable[[Any], Any], keys: list[Any]) -> float:
    """In microseconds."""
    random.Random(1).shuffle(keys)
    began = time.perf_counter()
    for key in keys:
        assert get(key) is not None
    return (time.perf_counter() - began) / len(keys) * 1e6


class Bare:
    """LMDB with the same bytes: one table of values and one of times, one writer thread."""

    def __init__(self, path: Path) -> None:
        self.env: Any = lmdb.open(str(path), map_size=LIMIT, subdir=False, max_dbs=2, readahead=False)
        self.values, self.times = (self.env.open_db(name) for name in (b"v", b"t"))
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while (batch := self._jobs.get()) is not None:
            with self.env.begin(write=True) as txn:
                for key, value in batch:
                    txn.put(key, value, db=self.values)
                    txn.put(value[:8] + key, b"", db=self.times)

    def puts(self, items: list[tuple[bytes, bytes]]) -> float:
        began = time.perf_counter()
        for start in range(0, len(items), MAX_BATCH_PUTS):
            self._jobs.put(items[start : start + MAX_BATCH_PUTS])
        self._jobs.put(None)
        self._thread.join()
        return len(items) / (time.perf_counter() - began)

    def get(self, key: bytes) -> Any:
        with self.env.begin(db=self.values) as txn:
            return txn.get(key)


async def _stalls(reactor: Any, offer: Callable[[], None]) -> list[float]:
    """Return the delay of each tick of a clock, in ms, while `offer` is called RATE times a second."""
    late: list[float] = []
    last = time.perf_counter()
    due = 0.0

    def tick() -> None:
        nonlocal last, due
        now = time.perf_counter()
        late.append(max(now - last - 0.001, 0.0) * 1000)
        due += min(now - last, 0.05) * RATE
        last = now
        while due >= 1:
            due -= 1
            offer()

    ticking = LoopingCall(tick)
    ticking.start(0.001)
    await deferLater(reactor, STALL_SECONDS)
    ticking.stop()
    return sorted(late)


def _share(late: list[float], share: float) -> float:
    return late[min(int(len(late) * share), len(late) - 1)]


async def _main(reactor: Any, count: int, folder: Path) -> None:
    records = _records(count, 1)
    before = _memory()
    database = _database(folder / "sealed", reactor)
    await _open(database)
    rate = await _puts(reactor, database, records)
    memory = _memory() - before
    items = [(record.key.to_bytes(32, "big")[:16], record.value + bytes(78)) for record in records]
    bare = Bare(folder / "bare")
    bare_rate = bare.puts(items)
    get = _gets(lambda key: database.get(key, time.time()), [record.key for record in records])
    bare_get = _gets(bare.get, [key for key, _ in items])
    database.close()
    database = _database(folder / "sealed", reactor)
    opening = await _open(database)
    fresh = iter(_records(int(RATE * STALL_SECONDS * 1.2), 2))
    idle = await _stalls(reactor, lambda: None)
    busy = await _stalls(reactor, lambda: database.offer(next(fresh), time.time(), lambda verdict: None))
    size, held = database.usage.size, len(database)
    database.close()
    print(f"{platform.python_implementation()} {platform.python_version()}, {count} records of 1 KB")
    print(f"durable puts {rate:8.0f}/s   bare {bare_rate:8.0f}/s   ratio {rate / bare_rate:.2f}")
    print(f"get          {get:8.1f} us   bare {bare_get:8.1f} us   ratio {get / bare_get:.2f}")
    print(f"open, checked {opening:7.2f} s")
    print(f"memory       {memory:8.1f} MB beside the map")
    print(f"pages in use {size / 1e6:8.1f} MB for {held} records")
    for name, late in (("idle", idle), (f"{RATE} puts/s", busy)):
        figures = "   ".join(
            f"{label} {_share(late, at):.2f}"
            for label, at in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1))
        )
        print(f"reactor late, ms, {name:12} {figures}")


async def _run(reactor: Any) -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        await _main(reactor, count, Path(folder))


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor)))
