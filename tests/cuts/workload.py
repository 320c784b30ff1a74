"""One life of a data directory: `python -m tests.cuts.workload FOLDER LOG SEED LIFE STEPS [MUTANT]`.

CUTS_KEYS in the environment has the encryption keys one of which fits, if it is configured.

It does, through the code of a node, everything that writes: the first start with identity, proof, keys and
folders; records that are put, replaced, renewed, deleted, expired and evicted; kept values; contacts, the
state file, the log and its rotation; the stop. What is acknowledged is written into the log of the shim, in
its place.
"""

import json
import os
import random
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dht14.app.log_file import LogFile
from dht14.errors import ConfigError
from dht14.kademlia.contact import Contact
from dht14.records.kept import KeptEntry
from dht14.records.record import Record, version_at
from dht14.records.store import BEGINNING, Outcome, Page, Verdict
from tests.cuts import mutants
from tests.cuts.disk import Op, changes
from tests.cuts.expected import digest, mark
from tests.cuts.opening import Node, open_node
from tests.cuts.recovery import DATA_DIR
from tests.database.disk import NOW
from tests.owners import Owner

KEYS = 24
"""Keys that stay, as many that may be evicted, and half as many owners' and kept ones."""
LIVES = 1_000_000
"""Versions that one life may use."""
LOG_BYTES = 2_000


class Life:
    """One life of a node."""

    def __init__(self, folder: str, log: str, seed: int, life: int) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._rng = random.Random(f"{seed} {life}")
        self._version = (life + 1) * LIVES
        self.now = last_now(log) + 20.0
        self._newest: dict[int, Record] = {}
        self._waiting = 0
        self._path = os.path.join(folder, DATA_DIR)
        self.say("now", now=self.now)
        self.node = self._opened()
        self._lines = LogFile(os.path.join(self._path, "twistd.log"), LOG_BYTES, 2)

    def _opened(self) -> Node:
        keys = os.environ.get("CUTS_KEYS", "").split(",")
        for key in keys[:-1]:
            with suppress(ConfigError):
                return open_node(self._path, bytes.fromhex(key) or None, self.say)
        return open_node(self._path, bytes.fromhex(keys[-1]) or None, self.say)

    def say(self, say: str, **fields: object) -> None:
        """Write a mark into the log."""
        os.write(self._log, mark(say, **fields))

    def live(self, steps: int, doings: Sequence[str]) -> None:
        """Take these steps, in random order, and stop. `doings` names the methods; if empty, all."""
        self._offer_again()
        self.node.database.expire(self.now)
        self.node.data_dir.show_working(True)
        weights = {
            self._put_some: 8,
            self._put_owned: 3,
            self._renew: 2,
            self._fill: 5,
            self._keep: 3,
            self._tidy: 3,
            self._pass_time: 2,
            self._wait: 4,
        }
        if doings:
            weights = {doing: 1 for doing in weights if doing.__name__[1:] in doings}
        for _ in range(steps):
            self._rng.choices(list(weights), list(weights.values()))[0]()
        self._wait()
        self.node.close()
        self._lines.close()

    # records

    def _offer_again(self) -> None:
        """Another holder offers what is here already: that is acknowledged without a write."""
        page = Page([], BEGINNING)
        while page.mark is not None:
            page = self.node.database.page(page.mark, self.now)
            for record in page.records:
                self._offer(record, record.version if record.is_owned else record.version - version_at(NOW))

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    def _value(self) -> bytes:
        return self._rng.randbytes(self._rng.choice([20, 200, 900, 1000, 3000, 9000]))

    def _put_some(self) -> None:
        for _ in range(self._rng.randrange(1, 12)):
            number = self._rng.randrange(KEYS)
            # Half of them expire soon. That a key is even means that it stays.
            self._put(number << 128 | 2, 120.0 if number % 2 else 20_000.0, self._value())

    def _fill(self) -> None:
        """Records for which others answer: the store is full of them, and drops them."""
        for _ in range(self._rng.randrange(1, 20)):
            writer = self._rng.randrange(2, 6)
            self._put(self._rng.getrandbits(200) << 8 | 1, 50_000.0, self._value(), writer)

    def _put(self, key: int, ttl: float, value: bytes, writer: int = 0) -> None:
        version = self._next_version()
        self._offer(
            Record(
                key=key,
                value=value,
                version=version_at(NOW) + version,
                expires_at=self.now + ttl,
                replication=8 if key & 1 == 0 else self._rng.choice([0, 8]),
                writer=writer,
                writer_subnet=bytes([10, 0, writer]) if writer else b"",
            ),
            version,
        )

    def _put_owned(self) -> None:
        """An owner's records and tombstones, which have sequence numbers."""
        owner = next(
            owner
            for salt in range(9)
            if not (owner := Owner(self._rng.randrange(1, 9), bytes([salt]))).key & 1
        )
        payload = self._rng.choice([b"", self._rng.randbytes(100)])
        version = self._next_version()
        self._offer(owner.record(payload, version, self.now + 300.0), version)

    def _renew(self) -> None:
        if self._newest:
            record = self._rng.choice(list(self._newest.values()))
            ttl = 120.0 if record.key >> 128 & 1 else 20_000.0
            self._offer(
                Record(
                    key=record.key,
                    value=record.value,
                    version=record.version,
                    expires_at=self.now + ttl,
                    replication=9,
                ),
                record.version - version_at(NOW),
            )

    def _offer(self, record: Record, number: int) -> None:
        stays = not record.key & 1
        if stays and not record.is_owned:
            self._newest[record.key] = record
        self.say("offered", key=f"{record.key:x}", number=number, digest=digest(record.value), stays=stays)
        self._waiting += 1
        self.node.database.offer(record, self.now, partial(self._answered, record, number))

    def _answered(self, record: Record, number: int, verdict: Verdict) -> None:
        self._waiting -= 1
        if verdict.outcome is Outcome.HELD:
            key, version = f"{record.key:x}", record.version
            self.say("held", key=key, number=number, version=version, expires_at=record.expires_at)

    # kept values

    def _keep(self) -> None:
        self._wait()
        key = self._rng.randrange(KEYS) << 64
        text = f"{key:x}"
        if self._rng.random() < 0.3:
            self.say("keeping", key=text, number=-1, digest="")
            self.node.database.kept.remove(key, partial(self._kept, text, -1))
            self._waiting += 1
            return
        value, version = self._value(), self._next_version()
        record = Record(key=key, value=value, version=version, expires_at=self.now + 600, replication=8)
        entry = KeptEntry.of(record, 600, 8, self.now, 0.5)
        self.say("keeping", key=text, number=version, digest=digest(value))
        self._waiting += 1
        self.node.database.kept.put(entry, value, partial(self._kept, text, version))

    def _kept(self, key: str, number: int, is_done: bool) -> None:
        self._waiting -= 1
        if is_done:
            self.say("kept", key=key, number=number)

    # the rest

    def _tidy(self) -> None:
        """Contacts, state and log."""
        identity = self.node.identity
        contacts = [
            Contact(identity.node_id, ("127.0.0.1", self._rng.randrange(1, 65_536)), identity.proof)
            for _ in range(self._rng.randrange(1, 20))
        ]
        self.node.data_dir.save_contacts(contacts)
        self.node.state.write([], self._rng.random() < 0.5)
        for number in range(5):
            self._lines.write(f"line {number}: {'x' * self._rng.randrange(200)}\n")

    def _pass_time(self) -> None:
        self._wait()
        self.now += self._rng.randrange(20, 400)
        self.say("now", now=self.now)
        self.node.database.expire(self.now)

    def _wait(self) -> None:
        self.node.run_until(lambda: not self._waiting)


def last_now(log: str) -> float:
    """Return the time of the last life."""
    with open(log, "rb") as file:
        said = [json.loads(change.data) for change in changes(file.read()) if change.op is Op.MARK]
    return max((mark["now"] for mark in said if mark["say"] == "now"), default=NOW)


def main(folder: str, log: str, seed: str, life: str, steps: str, mutant: str = "") -> None:
    """Live one life."""
    doings: Sequence[str] = ()
    if mutant:
        mutate, doings = mutants.MUTANTS[mutant]
        mutate()
    Life(folder, log, int(seed), int(life)).live(int(steps), doings)


if __name__ == "__main__":
    main(*sys.argv[1:])
