"""The clients of a soak: threads that put, get, delete, watch and keep values and files at real nodes, and
judge what they are told."""

import hashlib
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dht14 import Client
from dht14.client.errors import DhtError, NoNode, NotReady, Refused, TimedOut, Unanswered
from dht14.kademlia.keyspace import hash_id, id_to_bytes, random_id
from dht14.kademlia.parameters import MAX_INLINE_VALUE, REPLICATION
from dht14.records.envelope import key_of_owner
from dht14.records.record import Kind
from dht14.records.signing import public_key_of, sign_envelope
from dht14.sim.history import History
from dht14.sim.operations import PutResponse
from tests.process.nodes import VoidPhone
from tests.process.rivals import LATENESS
from tests.process.soak_nodes import SoakNode

TTL, SHORT_TTL = 600, 60
API_TIMEOUT = 10.0
"""Seconds after which a request is given up; a response is promised within 5."""
SIZES = ((60, (1, 100)), (30, (200, 1_100)), (8, (1_200, 9_000)), (2, (20_000, 65_000)))
"""Weights and ranges of the bytes of values: the larger ones go over TLS."""
CONTENTS = 60
"""The newest contents, which gets ask for."""
FILE_BYTES = (100_000, 400_000)
ATTEMPTS = 3
"""At a file, while nodes are killed."""


@define(eq=False)
class SoakKey:
    """A key that is put again and again."""

    key: int
    owner: Ed25519PrivateKey | None = None
    seq: int = 0

    def next(self, rng: random.Random, value: bytes) -> bytes:
        """Return its next value, made of these bytes; one in ten of an owner is a deletion."""
        if self.owner is None:
            return value
        self.seq += 1
        return sign_envelope(self.owner, self.seq, b"" if rng.random() < 0.1 else value).encode()


@define(eq=False)
class Clients:
    """All clients. Each kind of work is a thread that does it now and then, until `stop`."""

    nodes: Sequence[SoakNode]
    folder: Path
    """For files."""
    rate: float
    """Puts and gets a second."""
    rng: random.Random
    largest: int = SIZES[-1][1][1]
    """Bytes of the largest value."""
    keys: int = 40
    history: History = field(factory=lambda: History(expiry_tolerance=LATENESS), init=False)
    up: list[SoakNode] = field(init=False)
    """The nodes that clients use."""
    counts: Counter[str] = field(factory=Counter, init=False)
    """What was done, by its name."""
    breaches: list[str] = field(factory=list, init=False)
    lock: threading.Lock = field(factory=threading.Lock, init=False)
    ended: threading.Event = field(factory=threading.Event, init=False)
    _keys: list[SoakKey] = field(init=False)
    _contents: deque[int] = field(factory=lambda: deque(maxlen=CONTENTS), init=False)
    _files: deque[tuple[str, bytes, float]] = field(factory=lambda: deque(maxlen=4), init=False)
    """Address, SHA-256 and time of the newest files."""
    _threads: list[threading.Thread] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.up = list(self.nodes)
        self._keys = []
        for turn in range(self.keys):
            if turn % 2:
                owner = Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32))
                self._keys.append(SoakKey(key_of_owner(public_key_of(owner), b""), owner))
            else:
                self._keys.append(SoakKey(random_id(self.rng)))

    def start(self) -> None:
        """Start the threads that put, get, and move files."""
        for _ in range(3):
            self.repeat(self._put_or_get, 3 / self.rate)
        self.repeat(self._move_file, 120 / self.rate)

    def repeat(self, act: Callable[[], None], pause: float) -> None:
        """Call `act` in a thread, with random pauses of this mean, until the end."""

        def work() -> None:
            while not self.ended.wait(self._draw().expovariate(1 / pause)):
                act()

        self.begin(work)

    def begin(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread. What it raises is a breach."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told at the end
                self.breach(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Let all threads end."""
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def breach(self, what: str) -> None:
        """Note a broken promise."""
        with self.lock:
            self.breaches.append(what)

    def count(self, what: str) -> None:
        """Count what was done."""
        with self.lock:
            self.counts[what] += 1

    def watchable(self, count: int) -> list[int]:
        """Return some of the keys that are put again and again."""
        return [one.key for one in self._keys[:count]]

    def any_node(self) -> SoakNode:
        """Draw a node that is up."""
        with self.lock:
            return self.rng.choice(self.up)

    def _draw(self) -> random.Random:
        with self.lock:
            return random.Random(self.rng.random())

    def _value(self) -> bytes:
        (bounds,) = self.rng.choices([bounds for _, bounds in SIZES], [weight for weight, _ in SIZES])
        return self.rng.randbytes(min(self.rng.randint(*bounds), self.largest))

    # Values

    def _put_or_get(self) -> None:
        if self._draw().random() < 0.4:
            self._put()
        else:
            with self.lock:
                keys = [one.key for one in self._keys] + 2 * list(self._contents)
                key = self.rng.choice(keys)
            self.get(key, self.any_node())

    def _put(self) -> None:
        node = self.any_node()
        life = node.lives
        with self.lock:
            rng, value = self.rng, self._value()
            if rng.random() < 0.3:
                key, what = hash_id(value), "puts of content"
            else:
                one = rng.choice(self._keys)
                key, value = one.key, one.next(rng, value)
                what = "puts of open values" if one.owner is None else "puts and deletions of owners' values"
            ttl = SHORT_TTL if rng.random() < 0.2 else TTL
            copies, with_receipt = rng.choice((0, 0, 3, 5, 12)), rng.random() < 0.5
            now = time.monotonic()
            write = self.history.put_invoked(key, value, ttl, now, copies or REPLICATION, node.name)
            self.counts[what] += 1
        try:
            with VoidPhone(node.api_port, API_TIMEOUT) as client:
                put = client.put_with_receipt if with_receipt else client.put
                answer = put(id_to_bytes(key), value, ttl, copies)
        except OSError as error:
            self.unanswered(node, life, error)
            return
        with self.lock:
            response = PutResponse.of(answer)
            self.history.put_responded(write, response, time.monotonic())
            if response is PutResponse.FAILED:
                self.counts["puts refused"] += 1
            elif write.kind is Kind.CONTENT:
                self._contents.append(key)

    def get(self, key: int, node: SoakNode) -> None:
        """Get a value, and let the history judge it."""
        began, life = time.monotonic(), node.lives
        try:
            if self._draw().random() < 0.5:
                with VoidPhone(node.api_port, API_TIMEOUT) as plain:
                    found = plain.get(id_to_bytes(key))
            else:
                with Client(node.api_address, timeout=API_TIMEOUT) as client:
                    value = client.get(id_to_bytes(key))
                found = None if value is None else value.envelope or value.value
        except Unanswered:
            self.count("gets whose holders did not answer")
            return
        except (OSError, NoNode, TimedOut, NotReady) as error:
            self.unanswered(node, life, error)
            return
        with self.lock:
            self.counts["gets"] += 1
            self.history.get_responded(key, found, began, time.monotonic(), node.name)

    def get_all(self) -> None:
        """Get every key that is put again and again, and the newest contents, at each node."""
        with self.lock:
            keys = [one.key for one in self._keys] + list(self._contents)
        for node in self.nodes:
            for key in keys:
                self.get(key, node)

    def unanswered(self, node: SoakNode, life: int, error: Exception) -> None:
        """A request that began in this life of the node failed: a breach, unless the node was ended."""
        with self.lock:
            self.counts["requests of nodes that were ended meanwhile"] += 1
            was_ended = node not in self.up or node.lives != life
        if not was_ended:
            self.breach(f"{node.name}, which works, did not answer: {error!r}")

    # Files

    def _move_file(self) -> None:
        """Put a file, get it elsewhere, and get an earlier one."""
        most = FILE_BYTES[1] if self.largest > MAX_INLINE_VALUE else self.largest
        content = os.urandom(min(self._draw().randint(*FILE_BYTES), most))
        source = self.folder / "source"
        source.write_bytes(content)
        for _ in range(ATTEMPTS):
            try:
                with Client(self.any_node().api_address, timeout=API_TIMEOUT) as client:
                    address = client.put_file(source, ttl=TTL).address
                break
            except Refused:
                self.count("files refused")
                return
            except DhtError:
                self.count("transfers of files that were tried again")
        else:
            self.breach(f"a file was not stored in {ATTEMPTS} attempts")
            return
        self.count("files put")
        self._files.append((address, hashlib.sha256(content).digest(), time.monotonic()))
        self._get_file(*self._files[-1])
        self._get_file(*self._files[0])

    def _get_file(self, address: str, digest: bytes, put_at: float) -> None:
        if time.monotonic() > put_at + TTL - 60:
            return
        target = self.folder / "target"
        for _ in range(ATTEMPTS):
            try:
                with Client(self.any_node().api_address, timeout=API_TIMEOUT) as client:
                    fetched = client.get_file(address, target)
                break
            except DhtError:
                self.count("transfers of files that were tried again")
        else:
            self.breach(f"a file was not fetched in {ATTEMPTS} attempts")
            return
        self.count("files fetched")
        if fetched is None or hashlib.sha256(target.read_bytes()).digest() != digest:
            self.breach("a file was lost, or another one came")
        target.unlink(missing_ok=True)
