"""Question: what do unknown peers achieve against real nodes, and what do honest clients notice?

Four nodes, each in a /24 of its own, in a network namespace (so as root); an honest client in a process of
its own puts and gets all the while, idle first. Every figure is of one run. Takes about ten minutes. Exit
code 1 when clients waited more than twice as long under an attack on their network as without it.

    python scripts/bench/attacks.py [ATTACK ...]
"""

import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dht14.kademlia.contact import Address
from dht14.wire import api_messages
from tests.independent_peer import IndependentPeer
from tests.process import attacks
from tests.process.load import Load, Served
from tests.process.nodes import DIFFICULTY, Network, Twistd
from tests.process.replies import Question
from tests.process.space import Forger, Line, Space

NODES = 4
DATAGRAMS = 100_000
FORGERIES, REPLIES = 200_000, 1_000_000
HANDSHAKES, CALLERS = 50_000, 1_000
HALF_OPEN = 1_000
CONTACTS = 10
TLS_SECONDS = 15.0
IDLE_SECONDS = 15.0
LONGEST_WAIT = 2.0
"""How many times as long as without an attack honest clients may wait: the median of puts, and of gets."""


class AttackedCluster:
    """The nodes, and what an attacker has."""

    def __init__(self, folder: str) -> None:
        self.rng = random.Random(14)
        self.line, self.forger = Line(), Forger()
        self.waits: dict[str, float] = {}
        self.network = Network(Path(folder), hosts="198.18.{}.1")
        unthrottled = {"DHT14_RATE_LIMITER_REQUESTS_PER_SECOND": "0"}
        for _ in range(NODES):
            seeds = tuple(self.network.processes[:1])
            self.network.node(seeds=seeds, environment=unthrottled).wait_for_api()
        for node in self.nodes[1:]:
            node.wait_for("Joined")
        self.decoy = Network(Path(folder, "decoy"), hosts="198.18.99.1").node()
        self.decoy.wait_for_api()

    def both(self, name: str, attack: Callable[[Twistd], str], seconds: float) -> str:
        """Attack a node that nobody needs, then one of the network: by the first is seen what an attacker
        costs this host, and so the client."""
        load = self.load(seconds)
        report = f"\n  a node elsewhere: {attack(self.decoy)}\n    meanwhile {(without := load.served())}"
        load = self.load(seconds)
        report += f"\n  a node of the network: {attack(self.nodes[0])}"
        return f"{report}\n    meanwhile {self.served_under(name, load, without)}"

    @cached_property
    def undisturbed(self) -> Served:
        """What clients get while nobody attacks."""
        return self.load(IDLE_SECONDS).served()

    def served_under(self, attack: str, load: Load, without: Served) -> str:
        """Wait for the end of the client, and compare its waits with those without the attack."""
        served = load.served()
        kinds = ((served.puts, without.puts), (served.gets, without.gets))
        wait = max(statistics.median(now) / statistics.median(before) for now, before in kinds)
        self.waits[attack] = wait
        return f"{served}; {wait:.2f} times as long"

    def stop(self) -> None:
        self.network.stop()
        self.decoy.kill()

    @property
    def nodes(self) -> list[Twistd]:
        return self.network.processes

    def load(self, seconds: float) -> Load:
        return Load(self.nodes, seconds)

    def memory(self) -> str:
        """Of the node that is attacked."""
        status = Path(f"/proc/{self.nodes[0].process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return f"{int(line.split()[1]) / 1024:.1f} MB"

    def trouble(self) -> int:
        """Lines of the logs that tell of bugs."""
        return sum(event["level"] in ("error", "critical") for node in self.nodes for event in node.events())


def idle(cluster: AttackedCluster) -> str:
    """Nobody attacks."""
    return str(cluster.undisturbed)


def unknown_peers(cluster: AttackedCluster) -> str:
    """Datagrams of all kinds and lengths under a forged address."""

    def attack(node: Twistd) -> str:
        return str(attacks.unknown_peers(cluster.line, cluster.forger, node.at, DATAGRAMS, cluster.rng))

    return cluster.both("unknown_peers", attack, 25)


def forgeries(cluster: AttackedCluster) -> str:
    """Forged and repeated datagrams between nodes that talk."""
    without = cluster.undisturbed
    load = cluster.load(90)
    nodes = attacks.addresses(cluster.nodes)
    seen = attacks.forgeries(cluster.line, cluster.forger, nodes, lambda: load.works, FORGERIES, cluster.rng)
    return f"{seen}\n  meanwhile {cluster.served_under('forgeries', load, without)}"


def replies(cluster: AttackedCluster) -> str:
    """Forged answers to a question that a node has asked, in this process."""
    question, began = Question(), time.process_time()
    contacts = question.stack.table.contacts()
    back = question.forge(REPLIES)
    spent = 1e6 * (time.process_time() - began) / REPLIES
    unchanged = question.stack.table.contacts() == contacts and not question.outcome.called
    question.answer(b"the truth")
    return (
        f"{REPLIES} given to a node, {spent:.1f} µs each with their making; it sent {dict(back)}; "
        "table and question "
        f"unchanged: {unchanged}; then the answer came: {question.outcome.result!r}"
    )


def handshakes(cluster: AttackedCluster) -> str:
    """Sessions from many addresses, with identities of their own."""
    callers = attacks.callers(CALLERS, cluster.rng)

    def attack(node: Twistd) -> str:
        began = time.monotonic()
        fates = attacks.handshakes(node.at, callers, HANDSHAKES)
        return f"{dict(fates)} in {time.monotonic() - began:.0f} s"

    told = cluster.both("handshakes", attack, 100)
    for caller in callers:
        caller.socket.close()
    return told


def sessions(cluster: AttackedCluster) -> str:
    """The same while contacts of the table keep silent: their sessions are the ones used least."""
    node = cluster.nodes[0]
    contacts = [
        IndependentPeer("main", DIFFICULTY, node.p2p_port, node.host, f"198.19.{n}.1")
        for n in range(CONTACTS)
    ]
    for contact in contacts:
        contact.call(attacks.PING)
        contact.serve_for(0.3)
    callers = attacks.callers(CALLERS, cluster.rng)
    fates = attacks.handshakes(node.at, callers, HANDSHAKES // 5)
    kept = sum(attacks.is_in_session(contact) for contact in contacts)
    return f"{dict(fates)}; of {CONTACTS} contacts {kept} are still in their sessions"


def api_slowloris(cluster: AttackedCluster) -> str:
    """Connections to the API that begin a message and send a byte every 10 s."""
    port = cluster.nodes[0].api_port
    assert port is not None
    return _slowloris(cluster, "api_slowloris", ("127.0.0.1", port), api_messages.encode_get(bytes(32))[:3])


def tls_slowloris(cluster: AttackedCluster) -> str:
    """The same at the bulk channel, with handshakes."""
    return _slowloris(cluster, "tls_slowloris", cluster.nodes[0].at, b"\x16\x03\x01")


def tls_handshakes(cluster: AttackedCluster) -> str:
    """Whole handshakes from whoever comes, as fast as they are answered."""

    def attack(node: Twistd) -> str:
        done, began = attacks.tls_handshakes(node.at, TLS_SECONDS), time.monotonic()
        return f"{done} handshakes in {time.monotonic() - began + TLS_SECONDS:.0f} s"

    return cluster.both("tls_handshakes", attack, TLS_SECONDS)


def _slowloris(cluster: AttackedCluster, name: str, target: Address, first: bytes) -> str:
    without = cluster.undisturbed
    load, held = cluster.load(40), attacks.HalfOpen()
    held.open(target, first, HALF_OPEN, 10)
    until = time.monotonic() + 50
    held.trickle(lambda: time.monotonic() < until)
    left = len(held.sockets)
    held.close()
    last = max(held.closed_after, default=0.0)
    closed = f"{len(held.closed_after)} closed, the last after {last:.1f} s"
    return f"{closed}, {left} left\n  meanwhile {cluster.served_under(name, load, without)}"


ATTACKS: dict[str, Callable[[AttackedCluster], str]] = {
    attack.__name__: attack
    for attack in (
        idle,
        unknown_peers,
        forgeries,
        replies,
        handshakes,
        api_slowloris,
        tls_slowloris,
        tls_handshakes,
        sessions,  # Last: it leaves contacts that are dead.
    )
}


def main() -> int:
    """Run the attacks that are named, or all."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    space = Space.enter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            cluster = AttackedCluster(folder)
            try:
                for name in sys.argv[1:] or ATTACKS:
                    before = cluster.memory()
                    print(f"{name}: {ATTACKS[name](cluster)}")
                    print(
                        f"  memory {before}, then {cluster.memory()}; "
                        f"errors in the logs: {cluster.trouble()}",
                        flush=True,
                    )
            finally:
                cluster.stop()
    finally:
        space.leave()
    if not cluster.waits:
        return 0
    worst = max(cluster.waits, key=cluster.waits.__getitem__)
    print(f"Clients waited at most {cluster.waits[worst]:.2f} times as long as without the attack ({worst}).")
    return int(cluster.waits[worst] > LONGEST_WAIT)


if __name__ == "__main__":
    sys.exit(main())
