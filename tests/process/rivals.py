"""Clients that write and read the same keys at the APIs of real nodes, while some of these are killed and
begun again.

Each client is a thread, and all of them tell one history what they ask and what they get. Times are
those of `time.monotonic`, which all threads share.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from attrs import define, field

from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_REPLICATION
from dht14.records.record import Kind
from dht14.sim.clients import Register, Workload
from dht14.sim.history import History
from dht14.sim.operations import GetVerdict, PutResponse
from tests.process.clocks import HostClock
from tests.process.nodes import Twistd, VoidPhone, eventually

LATENESS = 7.0
"""Seconds after its expiry for which a get may return a value: a put may have waited for 5 s before it
started."""

TTL, SHORT_TTL = 600, 60

API_TIMEOUT = 10.0
"""Seconds without a response after which a request is given up; a response is promised within 5."""


@define(eq=False)
class Rivals:
    """`clients` clients; each puts once and gets `gets` times, again and again, at random nodes."""

    _nodes: Sequence[Twistd]
    _workload: Workload
    _keys: int
    _clients: int = 8
    _gets: int = 4
    _restarts: float = 0.0
    """Nodes killed per minute, one after another; each restarts after 0 to 3 s."""
    _seed: int = 1
    _faults: "Sequence[Callable[[Rivals, float], None]]" = ()
    """What else happens meanwhile: see `tests.process.faults`. Each has a thread."""
    _clocks: Mapping[Twistd, HostClock] = field(factory=dict)
    """Of the hosts of some nodes."""
    _until_wrong: bool = False
    """Whether the clients end when a get has broken a promise."""
    history: History = field(factory=lambda: History(expiry_tolerance=LATENESS), init=False)
    puts: int = field(default=0, init=False)
    acknowledged: int = field(default=0, init=False)
    unanswered: int = field(default=0, init=False)
    """Requests whose node was killed meanwhile, or did not answer."""
    restarted: int = field(default=0, init=False)
    began: float = field(factory=time.monotonic, init=False)
    _rng: random.Random = field(init=False)
    _registers: list[Register] = field(init=False)
    _ids: dict[Twistd, int] = field(init=False)
    _up: list[Twistd] = field(init=False)
    """The nodes that clients use."""
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    """Of all clients."""
    _failures: list[BaseException] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self._seed)
        self._registers = [Register.of(turn, self._rng) for turn in range(self._keys)]
        self._up = list(self._nodes)
        self._ids = {node: int(node.wait_for("node id {node_id}")["node_id"], 16) for node in self._nodes}
        for node_id in self._ids.values():
            self.history.availability.came_up(node_id, self.began)

    def work(self) -> None:
        """Run for the time of the workload. Raises the exception of a client that failed."""
        until = time.monotonic() + self._workload.seconds
        threads = [
            threading.Thread(target=self._guarded, args=(self._client, until)) for _ in range(self._clients)
        ]
        if self._restarts:
            threads.append(threading.Thread(target=self._guarded, args=(self._restart, until)))
        threads += [
            threading.Thread(target=self._guarded, args=(partial(fault, self), until))
            for fault in self._faults
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def report(self) -> str:
        """Return one line for each kind of key and each violation."""
        history = self.history
        head = f"{self.puts} puts, {self.acknowledged} acknowledged, {self.unanswered} requests unanswered; "
        head += f"{self.restarted} nodes killed and begun again; "
        head += f"{history.returned} right gets older than an earlier one"
        lines = [head]
        for kind in Kind:
            counts = [(history.count(verdict, kind), verdict.value) for verdict in GetVerdict]
            figures = ", ".join(f"{count} {name}" for count, name in counts if count)
            lines.append(f"{kind.name.lower()} keys: {figures or 'no gets'}")
        return "\n".join([*lines, *(read.describe(self.began) for read in history.violations)])

    def _guarded(self, work: Callable[[float], None], until: float) -> None:
        try:
            work(until)
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that waits for it
            self._failures.append(failure)

    def _goes_on(self, until: float) -> bool:
        found = self._until_wrong and self.history.violations
        return time.monotonic() < until and not self._failures and not found

    def _client(self, until: float) -> None:
        while self._goes_on(until):
            with self._lock:
                register = self._rng.choice(self._registers)
            self._put(register)
            for _ in range(self._gets):
                self._get(register)
                with self._lock:
                    register = self._rng.choice((register, self._rng.choice(self._registers)))

    def _put(self, register: Register) -> None:
        with self._lock:
            rng, workload = self._rng, self._workload
            node = rng.choice(self._up)
            if register.kind is not Kind.OPEN and rng.random() < workload.junk:
                value, copies = rng.randbytes(40), MAX_REPLICATION
            else:
                value, copies = register.next(rng, workload.deletions), rng.randint(*workload.copies)
            ttl = SHORT_TTL if register.has_short_ttl(rng, workload.short_ttls) else TTL
            write = self.history.put_invoked(
                register.key, value, ttl, time.monotonic(), copies, node.folder.name
            )
            self.puts += 1
        try:
            with VoidPhone(_port(node), API_TIMEOUT) as client:
                stored = client.put(id_to_bytes(register.key), value, ttl, copies)
        except OSError:
            self._was_unanswered()
            return
        with self._lock:
            self.acknowledged += stored
            self.history.put_responded(write, PutResponse.of(stored), time.monotonic())

    def _get(self, register: Register) -> None:
        with self._lock:
            node = self._rng.choice(self._up)
        began = time.monotonic()
        try:
            with VoidPhone(_port(node), API_TIMEOUT) as client:
                found = client.get(id_to_bytes(register.key))
        except OSError:
            self._was_unanswered()
            return
        with self._lock:
            self.history.get_responded(register.key, found, began, time.monotonic(), node.folder.name)

    def _was_unanswered(self) -> None:
        with self._lock:
            self.unanswered += 1

    # faults

    def partitioned(self) -> None:
        """The network is about to be divided."""
        with self._lock:
            self.history.partitioned()

    def healed(self) -> None:
        """It is one again."""
        with self._lock:
            self.history.healed(time.monotonic())

    def set_a_clock(self, hours: float) -> None:
        """Set the clock of the host of one node that clients use so many hours ahead."""
        with self._lock:
            self._clocks[self._rng.choice([node for node in self._up if node in self._clocks])].set(hours)

    def processes(self) -> set[int]:
        """Return the process ids of all nodes."""
        return {node.process.pid for node in self._nodes}

    @contextmanager
    def without_a_node(self) -> Iterator[Twistd]:
        """Yield a node that clients leave alone meanwhile, because it does not work."""
        with self._lock:
            node = self._rng.choice(self._up)
            self._up.remove(node)
            self.history.availability.went_down(self._ids[node], time.monotonic())
        try:
            yield node
        finally:
            with self._lock:
                self.history.availability.came_up(self._ids[node], time.monotonic(), kept=True)
                self._up.append(node)

    def _restart(self, until: float) -> None:
        """Kill one node at a time, and restart it with its directory."""
        while self._goes_on(until):
            with self._lock:
                node = self._rng.choice(self._up)
                pauses = self._rng.uniform(0.0, 3.0), self._rng.expovariate(self._restarts / 60.0)
                self._up.remove(node)
                self.history.availability.went_down(self._ids[node], time.monotonic())
            joined = _joins(node)
            node.kill()
            time.sleep(pauses[0])
            if clock := self._clocks.get(node):
                clock.begin()
            node.start().wait_for_api()
            self._wait_for_join(node, joined)
            with self._lock:
                self.history.availability.came_up(self._ids[node], time.monotonic(), kept=True)
                self.restarted += 1
                self._up.append(node)
            time.sleep(min(pauses[1], max(until - time.monotonic(), 0.0)))

    @staticmethod
    def _wait_for_join(node: Twistd, joined: int) -> None:
        eventually(lambda: _joins(node) > joined, "another join")


def _port(node: Twistd) -> int:
    assert node.api_port is not None
    return node.api_port


def _joins(node: Twistd) -> int:
    """Count the events with this text in its log. The kill may have cut off a line."""
    return (node.folder / "stdout").read_text().count("Joined the network")
