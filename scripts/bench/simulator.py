"""Question: how fast is the simulator, and how much memory does a node take in it?

A world of `NODES` joins, rests, and then loses and regains its nodes, in sessions of a median of 10 min. No
client reads or writes. Each line has the CPU of one phase, not the time of the machine, and the most memory
until its end. The digest tells whether two versions of the code did the same.

    python scripts/bench/simulator.py [--nodes 1000] [--loss 0.05] [--idle 120] [--churn 120] [--seed 1]
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from dht14.sim.churn import Churn, SessionLengths
from dht14.sim.collector import rare_collections
from dht14.sim.conditions import Conditions
from dht14.sim.run import SETTLE
from dht14.sim.world import World

SESSION_SECONDS = 600.0


def peak_kib() -> int:
    """Return the most memory that this process had resident."""
    return getrusage(RUSAGE_SELF).ru_maxrss


def measure(world: World, phase: str, work: Callable[[], object]) -> None:
    """Do the work, and print what it cost."""
    events, node_seconds, began = world.clock.events, world.node_seconds(), time.process_time()
    work()
    seconds = max(time.process_time() - began, 0.001)
    done, lived = world.clock.events - events, world.node_seconds() - node_seconds
    print(
        f"{phase:<7} {seconds:8.1f} s of CPU  {done / seconds:8,.0f} events and {lived / seconds:8,.0f} "
        f"node-seconds in each  {peak_kib() / 1024:7,.0f} MiB",
        flush=True,
    )


def main() -> int:
    """Run the phases; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--loss", type=float, default=0.05, help="share of datagrams that are lost")
    parser.add_argument("--idle", type=float, default=120.0, metavar="SECONDS", help="virtual")
    parser.add_argument("--churn", type=float, default=120.0, metavar="SECONDS", help="virtual")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    empty = peak_kib()
    world = World(args.nodes, args.seed, Conditions.worldwide(loss=args.loss))
    with rare_collections():
        measure(world, "join", world.join)
        world.wait(SETTLE)
        if args.idle:
            measure(world, "idle", lambda: world.wait(args.idle))
        kib = (peak_kib() - empty) / world.size
        contacts = sum(len(node.stack.table) for node in world.nodes.values()) / world.size
        if args.churn:
            Churn(world, SessionLengths(SESSION_SECONDS)).start()
            measure(world, "churn", lambda: world.wait(args.churn))
    print(f"a node that rests: {kib:.0f} KiB, with {contacts:.0f} contacts")
    print(f"digest {world.network.digest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
