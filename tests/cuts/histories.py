"""What is recorded: lives of a data directory, changes of its key, real nodes, and starts after a cut."""

import copy
import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from dht14.records.receipt import Receipt
from tests.cuts.cutting import Point, Recording
from tests.cuts.disk import CUTS, inodes_in
from tests.cuts.expected import digest
from tests.cuts.recording import Recorder
from tests.cuts.recovery import DATA_DIR, check_files, recover
from tests.process import nodes
from tests.process.nodes import TWISTD, Network, Twistd

WORKLOAD = "tests.cuts.workload"
NEW_KEY = "5a" * 32
NODE_LIMITS = 64 << 20, 1 << 20
"""Bytes of the database of a real node, and of its list of kept values."""


def lives(recorder: Recorder, seed: int, count: int, steps: int) -> Recording:
    """Record some lives of one data directory. All but the last may end with a kill: early, late, or in the
    middle of a commit."""
    rng = random.Random(seed)
    for life in range(count):
        _live(recorder, seed, life, steps, **(_end(rng, steps) if life < count - 1 else {}))
    name = "one life" if count == 1 else f"{count} lives"
    return Recording(name, recorder.changes(), recorder.disk, recover)


def _end(rng: random.Random, steps: int) -> dict[str, Any]:
    in_commit = {"end_after": rng.randrange(1, steps * 2), "in_commit": True}
    early, late = {"end_after": rng.randrange(1, 60)}, {"end_after": rng.randrange(60, steps * 12)}
    return rng.choice([{}, early, late, in_commit, in_commit])


def _live(recorder: Recorder, seed: int, life: int, steps: int, *words: str, **ends: Any) -> bool:
    return recorder.run(WORKLOAD, recorder.folder, recorder.log, seed, life, steps, *words, **ends)


def mutant(recorder: Recorder, seed: int, steps: int, name: str) -> Recording:
    """Record two short lives of a mutant; the first is killed in the middle of a commit."""
    _live(recorder, seed, 0, steps, name, end_after=2 * steps, in_commit=True)
    _live(recorder, seed, 1, 2, name)
    return Recording(name, recorder.changes(), recorder.disk, recover)


def rekeys(recorder: Recorder, seed: int, steps: int) -> Recording:
    """Record lives with a change of the key between them, by `dht14 rekey`: killed first, then complete."""
    rng = random.Random(seed)
    key_file = recorder.folder.parent / "new key"
    key_file.write_text(NEW_KEY + "\n")
    _live(recorder, seed, 0, steps)
    recorder.say("rekeying", key=NEW_KEY)
    words = ("rekey", "--data-dir", recorder.folder / DATA_DIR, "--new-key-file", key_file)
    for life in range(1, 4):
        is_done = recorder.run("dht14", *words, end_after=rng.randrange(1, 50))
        if is_done:
            break
        # The life that comes after it finds out which key fits, and that one stays the right one.
        keyed = Recorder(recorder.library, recorder.folder, recorder.log, recorder.begin, f",{NEW_KEY}")
        _live(keyed, seed, life, 3)
        if _is_new(keyed):
            break
        recorder.say("rekeying", key=NEW_KEY)
    else:
        is_done = recorder.run("dht14", *words)
    if is_done:
        recorder.say("rekeyed", key=NEW_KEY)
    keyed = Recorder(recorder.library, recorder.folder, recorder.log, recorder.begin, NEW_KEY)
    _live(keyed, seed, 5, steps)
    return Recording("a change of the key", recorder.changes(), recorder.disk, recover)


def _is_new(recorder: Recorder) -> bool:
    """Whether the last life has found that the new key fits."""
    said = [change.data for change in recorder.changes() if b'"unlocked"' in change.data]
    return NEW_KEY.encode() in said[-1]


# a real node


@frozen
class _NodeRun:
    """A real node under the shim, alone in its network, and its clients."""

    recorder: Recorder
    rng: random.Random
    twistd: Twistd

    def put(self, count: int) -> None:
        """Put values, several under way on one connection."""
        with self.twistd.client() as client:
            for _ in range(count):
                key = self.rng.randrange(12).to_bytes(32, "big")
                value = self.rng.randbytes(self.rng.choice([30, 900, 9_000, 60_000]))
                number, began = time.time_ns(), time.time()
                text = f"{int.from_bytes(key, 'big'):x}"
                self.recorder.say("now", now=began)
                self.recorder.say("offered", key=text, number=number, digest=digest(value))
                receipt: Receipt = client.put_with_receipt(key, value)
                assert receipt.acknowledged, receipt
                self.recorder.say(
                    "held", key=text, number=number, version=receipt.version, expires_at=began + 599.0
                )

    def keep(self, name: str, is_kept: bool) -> None:
        """Keep a value by `dht14 put --keep`, or keep it no more."""
        value = self.rng.randbytes(50).hex()
        key = hashlib.sha256(name.encode()).hexdigest().lstrip("0")
        number = time.time_ns() if is_kept else -1
        self.recorder.say("keeping", key=key, number=number, digest=digest(value.encode()) if is_kept else "")
        data_dir = ("--data-dir", str(self.recorder.folder / DATA_DIR))
        api = ("--api-address", f"127.0.0.1:{self.twistd.api_port}")
        words = ("put", name, value, "--keep", *api) if is_kept else ("unkeep", name)
        command = [sys.executable, "-m", "dht14", *words, *data_dir]
        subprocess.run(
            command,
            env=nodes.environment({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        self.recorder.say("kept", key=key, number=number)


def real_node(recorder: Recorder, seed: int, puts: int) -> Recording:
    """Record a `twistd dht14` from its first start on: clients, SIGKILL, SIGTERM, and starts after them."""
    rng = random.Random(seed)
    data_dir = recorder.folder / DATA_DIR
    program = (*TWISTD, "--logfile", str(data_dir / "twistd.log"))
    limits = {
        "DHT14_STORAGE_STORAGE_LIMIT": str(NODE_LIMITS[0]),
        "DHT14_STORAGE_KEPT_LIMIT": str(NODE_LIMITS[1]),
        "DHT14_NODE_ADMIN_ADDRESS": "unix",
    }
    network = Network(recorder.folder.parent / "network")
    try:
        data_dir.mkdir(parents=True)
        recorder = Recorder(recorder.library, recorder.folder, recorder.log, inodes_in(recorder.folder))
        environment = recorder.environment(**limits)
        twistd = network.node("--data-dir", str(data_dir), environment=environment, program=program)
        run = _NodeRun(recorder, rng, twistd)
        for life in range(3):
            twistd.wait_for_api()
            run.put(puts)
            run.keep(f"kept {life}", True)
            run.put(puts)
            if life:
                run.keep(f"kept {life - 1}", False)
            if life == 1:
                twistd.stop()
            else:
                twistd.kill()
            if life < 2:
                twistd.start()
    finally:
        network.stop()
    return Recording("a real node", recorder.changes(), recorder.disk, partial(recover, limits=NODE_LIMITS))


def files(recorder: Recorder, seed: int) -> Recording:
    """Record commands that write files for their user."""
    recorder.run("tests.cuts.commands", recorder.folder, recorder.log, seed)
    return Recording("files of commands", recorder.changes(), recorder.disk, check_files)


# starts after a cut


def restarts(recording: Recording, library: Path, place: Path, seed: int, count: int) -> Iterator[Recording]:
    """Record the start after a cut at some points of a recording: it can be cut, too."""
    rng = random.Random(seed)
    points = sum(1 for _ in recording.points())
    chosen = set(rng.sample(range(points), min(count, points)))
    for point in recording.points():
        if point.number in chosen:
            yield _restart(
                point, Recorder.on(library, place / f"start-{point.number}", _left(point, rng)), seed
            )


def _left(point: Point, rng: random.Random) -> dict[str, bytes | None]:
    return point.disk.left_by(rng.choice(CUTS), rng)


def _restart(point: Point, recorder: Recorder, seed: int) -> Recording:
    expected = copy.deepcopy(point.expected)
    recorder.say("now", now=expected.now)
    _live(recorder, seed, 60, 1)
    name = "a start after a cut"
    return Recording(name, recorder.changes(), recorder.disk, recover, partial(copy.deepcopy, expected))
