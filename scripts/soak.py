"""Let real nodes work for an hour under mixed load, and judge what they answer and what they take.

    python scripts/soak.py [--minutes 60] [--nodes 12] [--rate 6] [--pause 10] [--largest 65000] [--seed 1]
    [--page FILE]

Starts nodes on 127.0.0.1 and lets clients put, get, delete, watch and keep values and files, while nodes are
killed and started again, get other encryption keys and other identities, and change their logs. A third of
the nodes lives from the start to the end. Every answer is judged, and of each node memory, descriptors,
threads and files are sampled. Exit code 1 when an answer broke a promise, a node did not come back, or a
node took more and more. `--page` writes the tables into that page (docs/soak.md). The script and the nodes
run with nice 10.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path

from attrs import define, field

sys.path.insert(0, str(Path(__file__).parents[1]))

from dht14.records.record import Kind
from dht14.sim.operations import GetVerdict
from tests.process.soak_clients import TTL, Clients
from tests.process.soak_faults import Faults
from tests.process.soak_guests import Guests
from tests.process.soak_nodes import SWEEP_SECONDS, SoakNode
from tests.process.usage import Bounds, Growth, Sample, middle, sample

BEGIN, END = "<!-- scripts/soak.py: begin -->\n", "<!-- end -->\n"
SAMPLE_SECONDS = 10.0
WARM_UP = 1 / 3
"""The part of the time that is not judged: values, tables and caches fill."""
REST_SECONDS = 150.0
"""Within which descriptors are as few as before the load: idle connections end after 50 s."""
MORE_AT_REST = 2
"""Descriptors that a node at rest may have more than at first."""
QUIET_LEVELS = ("debug", "info", "warn")


@define(eq=False)
class Soak:
    """One run. `work` returns when it is over."""

    nodes: list[SoakNode]
    clients: Clients
    guests: Guests
    faults: Faults
    minutes: float
    samples: dict[SoakNode, list[Sample]] = field(factory=dict, init=False)
    rest: dict[SoakNode, tuple[Sample, Sample]] = field(factory=dict, init=False)
    """Before the load and after it."""
    began: float = field(factory=time.monotonic, init=False)
    bad_lines: Counter[str] = field(factory=Counter, init=False)
    """Events of the logs that tell of a trouble, by name."""

    def work(self) -> None:
        """Start the nodes, and let clients and faults work for the time."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_for_join()
        before = {node: self._sample(node) for node in self.nodes}
        self.samples = {node: [] for node in self.nodes}
        self.faults.came_up()
        self.began = time.monotonic()
        self.clients.start()
        self.guests.start()
        self.clients.begin(self._sample_on)
        try:
            self._disturb_until(self.began + 60 * self.minutes)
            self.clients.ended.set()
            self.guests.look_for_kept()
            self.clients.get_all()
            self.guests.wait_for_news()
        finally:
            self.guests.stop()
            self.clients.stop()
        self.rest = {node: (before[node], self._sample(node)) for node in self.nodes}
        self._wait_for_rest()
        self._read_logs()

    def _disturb_until(self, until: float) -> None:
        told = 0
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, self.faults.rng.expovariate(1 / self.faults.pause)))
            for breach in self.clients.breaches[told:]:
                print(f"{time.monotonic() - self.began:.0f} s: {breach}", flush=True)
                told += 1
            # The last fault is over some time before the end, so that its node is known again.
            if until - time.monotonic() > min(self.faults.pause, 60.0):
                try:
                    self.faults.next()
                except AssertionError as error:  # A node that does not end, or does not come back.
                    self.clients.breach(str(error))
                    return

    def _sample(self, node: SoakNode) -> Sample:
        return sample(node.pid, node.data_dir, time.monotonic(), node.lives)

    def _sample_on(self) -> None:
        while not self.clients.ended.wait(min(SAMPLE_SECONDS, self.minutes)):
            for node in self.nodes:
                try:
                    self.samples[node].append(self._sample(node))
                except OSError:  # It was killed just now.
                    continue

    def _wait_for_rest(self) -> None:
        deadline = time.monotonic() + REST_SECONDS
        while time.monotonic() < deadline and self._restless():
            time.sleep(1.0)
            self.rest = {node: (before, self._sample(node)) for node, (before, _) in self.rest.items()}

    def _restless(self) -> list[SoakNode]:
        return [
            node
            for node, (before, after) in self.rest.items()
            if after.descriptors > before.descriptors + MORE_AT_REST or after.files > before.files
        ]

    def _read_logs(self) -> None:
        for node in self.nodes:
            for line in node.log():
                try:
                    event = json.loads(line)
                    level, name = event["level"], event["event"]
                except (ValueError, KeyError, TypeError):
                    level, name = "error", "a line that is no event"  # A kill may cut one off.
                    if node.lives > 1:
                        continue
                if level not in QUIET_LEVELS:
                    self.bad_lines[name] += 1

    # The judgement

    def judged(self, node: SoakNode) -> list[Sample]:
        """Return the samples of its last life after the warm-up."""
        samples = self.samples[node]
        since = self.began + WARM_UP * 60 * self.minutes
        return [one for one in samples if one.life == node.lives and one.at >= since]

    def bounds(self) -> Bounds:
        """Return what a node may take more. Connections between the nodes, and data, grow until all pairs
        have met and the first values have expired and are swept; at rest descriptors are always judged."""
        is_full = WARM_UP * 60 * self.minutes >= TTL + SWEEP_SECONDS
        return Bounds() if is_full else Bounds(descriptors=inf, data=inf)

    def breaches(self) -> list[str]:
        """Say what is wrong."""
        found = list(self.clients.breaches)
        found += [read.describe(self.began) for read in self.clients.history.violations]
        for node in self.nodes:
            if node.is_steady:
                growth = Growth.of(self.judged(node))
                found += [f"{node.name}: {breach}" for breach in growth.breaches(self.bounds())]
        for node in self._restless():
            before, after = self.rest[node]
            found.append(
                f"{node.name} at rest: {after.descriptors} descriptors, {before.descriptors} at first; "
                f"{after.files} files, {before.files} at first"
            )
        found += [f"{count} lines of {name} in the logs" for name, count in self.bad_lines.items()]
        return found

    # The tables

    def run_table(self) -> str:
        """Return the table of what was done, and what the answers were."""
        clients, faults = self.clients, self.faults
        cores = sum(self.cpu(node) for node in self.nodes) / (60 * self.minutes)
        rows = [
            (
                "nodes",
                f"{len(self.nodes)}, of which {sum(node.is_steady for node in self.nodes)} never ended",
            ),
            ("minutes", f"{self.minutes:g}"),
            ("processor", f"{cores:.2f} of a core, all nodes together"),
            *((name, f"{count:,}") for name, count in sorted(clients.counts.items())),
            ("slowest end after SIGTERM", f"{faults.slowest_stop:.1f} s"),
            ("slowest return, from start to join", f"{faults.slowest_return:.1f} s"),
        ]
        for kind in Kind:
            counts = [(clients.history.count(verdict, kind), verdict.value) for verdict in GetVerdict]
            told = ", ".join(f"{count:,} {name}" for count, name in counts if count)
            rows.append((f"answers under {kind.name.lower()} keys", told or "none"))
        lines = ["| what | figure |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)]
        return "\n".join(lines) + "\n"

    def cpu(self, node: SoakNode) -> float:
        """Return the seconds of processor time of a node since the load began."""
        before, after = self.rest[node]
        return node.cpu + after.cpu - before.cpu

    def node_table(self) -> str:
        """Return the table of what each node took of the host."""
        head = (
            "node", "lives", "minutes judged", "memory, MiB, then", "at the end", "growth, MiB an hour",
            "most resident, MiB", "descriptors at rest, before", "after", "most", "threads, most",
            "files, before", "after", "data, MiB", "logs, MiB",
        )  # fmt: skip
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        for node in self.nodes:
            judged, all_samples = self.judged(node), self.samples[node]
            quarter = max(1, len(judged) // 4)
            growth, (before, after) = Growth.of(judged), self.rest[node]
            cells = (
                f"{node.number}", f"{node.lives}", f"{growth.seconds / 60:.0f}",
                f"{middle(judged[:quarter], 'memory'):.1f}", f"{middle(judged[-quarter:], 'memory'):.1f}",
                f"{growth.memory_per_hour:+.1f}" if node.is_steady else "",
                f"{max((one.resident for one in all_samples), default=0):.0f}",
                f"{before.descriptors}", f"{after.descriptors}",
                f"{max((one.descriptors for one in all_samples), default=0)}",
                f"{max((one.threads for one in all_samples), default=0)}",
                f"{before.files}", f"{after.files}",
                f"{after.data:.1f}", f"{after.log:.2f}",
            )  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def summary(self, breaches: Sequence[str]) -> str:
        """Return one line."""
        growths = [Growth.of(self.judged(node)) for node in self.nodes if node.is_steady]
        steady = [self.rest[node] for node in self.nodes if node.is_steady]
        answers = sum(self.clients.history.counts.values())
        return (
            f"{len(self.nodes)} nodes, {self.minutes:g} minutes: {answers:,} answers judged, "
            f"{len(self.clients.history.violations)} wrong; the nodes that never ended took at most "
            f"{max(growth.memory for growth in growths):+.1f} MiB more in the last "
            f"{max(growth.seconds for growth in growths) / 60:.0f} minutes, and at rest "
            f"{max(after.descriptors - before.descriptors for before, after in steady):+d} descriptors; "
            f"{len(breaches) or 'no'} promise{'s' * (len(breaches) > 1)} broken"
        )

    def report(self, command: str) -> str:
        """Return all that the page says of a run."""
        breaches = self.breaches()
        host = f"Python {platform.python_version()}, {os.cpu_count()} cores that others use too"
        verdict = "".join(f"- {breach}\n" for breach in breaches)
        tables = f"{self.run_table()}\n{self.node_table()}"
        whole = f"`{command}`, {host}.\n\n{self.summary(breaches)}\n\n{tables}"
        return f"{whole}\n{verdict}" if verdict else whole


def with_report(page: str, report: str) -> str:
    """Return the page with this report in place of the last one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, "the page has no place for the report"
    return f"{before}{BEGIN}\n{report}\n{END}{after}"


def cluster(folder: Path, count: int) -> list[SoakNode]:
    """Return the nodes, not started: the first third is steady, and all join through these."""
    nodes = [SoakNode(folder / f"n{n}", n, is_steady=n <= max(1, count // 3)) for n in range(1, count + 1)]
    for node in nodes:
        node.seeds = tuple(other.address for other in nodes if other.is_steady and other is not node)[:3]
    return nodes


def run(folder: Path, args: argparse.Namespace) -> Soak:
    """Run a soak in a folder with a short path."""
    nodes, rng = cluster(folder, args.nodes), random.Random(args.seed)
    clients = Clients(nodes, folder, args.rate, rng, args.largest)
    faults = Faults(clients, args.pause, random.Random(args.seed))
    soak = Soak(nodes, clients, Guests(clients), faults, args.minutes)
    try:
        soak.work()
    finally:
        for node in nodes:
            node.kill_if_alive()
    return soak


def main(words: Sequence[str] | None = None) -> int:
    """Run the soak; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=12, help="three or more")
    parser.add_argument("--rate", type=float, default=6.0, help="puts and gets a second, of all clients")
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two faults, on average")
    parser.add_argument("--largest", type=int, default=65_000, help="bytes of the largest value")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", type=Path, metavar="FILE", help="the page to write")
    args = parser.parse_args(words)
    if args.nodes < 3:
        parser.error("three nodes or more")
    os.nice(10 - os.nice(0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # The nodes end with it.
    # Sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="dht14-soak-"))
    try:
        soak = run(folder, args)
        command = f"python scripts/soak.py --minutes {args.minutes:g} --nodes {args.nodes} --seed {args.seed}"
        report = soak.report(command)
        print(report, flush=True)
        if args.page:
            args.page.write_text(with_report(args.page.read_text(encoding="utf-8"), report), encoding="utf-8")
        return 1 if soak.breaches() else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
