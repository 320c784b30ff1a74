"""`dht14 testnet N`: a network of real nodes on this host, until Ctrl-C."""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from dht14.cmd.command_error import DONE, INTERRUPTED, NO_NODE, WRONG_USAGE, CommandError
from dht14.cmd.output import print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.embedding.testnet import MAX_NODES
from dht14.embedding.testnet_host import HostAbandoned, TestnetHost
from dht14.errors import StartError

HIGHEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 testnet`."""
    parser.description = (
        "Run a network of real nodes on this host, for trying and for tests. Each node is a process of its "
        "own and listens only on 127.0.0.1. When all nodes are ready, the command prints one JSON object for "
        "each: its number, the address of its API, its address for other nodes, its process, which you may "
        "kill, and its data directory, for dht14 status and its kind. Ctrl-C or SIGTERM ends all nodes and "
        "removes all they have written."
    )
    parser.epilog = (
        "Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 wrong usage, 3 a node did not start or all have ended, "
        "130 Ctrl-C before the nodes were ready."
    )
    parser.add_argument(
        "nodes",
        nargs="?",
        type=whole_number(MAX_NODES, least=1),
        default=5,
        metavar="N",
        help="number of nodes (default: 5)",
    )
    parser.add_argument(
        "--keep", metavar="DIR", help="write into this folder and leave it; the next network goes on with it"
    )
    parser.add_argument(
        "--api-port",
        type=whole_number(HIGHEST_PORT, least=1),
        metavar="PORT",
        help="port of the first API; the others follow it (default: any free ports)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the network until a signal ends it; return the exit code."""
    if args.api_port is not None and args.api_port + args.nodes - 1 > HIGHEST_PORT:
        raise CommandError(WRONG_USAGE, f"--api-port: {args.nodes} ports do not fit above {args.api_port}")
    if not hasattr(os, "fork"):
        raise CommandError(WRONG_USAGE, "nodes do not run on this system")
    received: set[int] = set()
    with _end_by_signal(received) as owner, _folder(args.keep) as folder:
        host = TestnetHost(folder, {"admin_address": "unix"}, owner)
        try:
            return _run(host, args, received)
        finally:
            host.close()


def _run(host: TestnetHost, args: argparse.Namespace, received: Collection[int]) -> int:
    began = time.monotonic()
    host.add(args.nodes, args.api_port or 0)
    try:
        host.start(range(args.nodes))
    except StartError as error:
        raise CommandError(NO_NODE, str(error), "not_started") from None
    except HostAbandoned:
        # A script may end the network while the last nodes start: it has seen only that the first are ready.
        return DONE if signal.SIGTERM in received else INTERRUPTED
    for node in host.describe():
        print_json(node)
    print_status(
        f"Nodes ready: {args.nodes}, after {time.monotonic() - began:.1f} s; Ctrl-C ends the network"
    )
    try:
        while (number := host.next_end()) is not None:
            print_status(f"node {number} has ended")
    except HostAbandoned:
        return DONE
    raise CommandError(NO_NODE, "all nodes have ended", "ended")


@contextmanager
def _end_by_signal(received: set[int]) -> Iterator[socket.socket]:
    """Make the connection that ends at Ctrl-C, SIGTERM or hang-up; each is added to `received`.

    A handler that raises would not do: while the process forks, Python drops what a handler raises.
    """
    ours, theirs = socket.socketpair()

    def end(number: int, _: object) -> None:
        received.add(number)
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        with ours, theirs:
            yield theirs
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _folder(kept: str | None) -> Iterator[str]:
    """The folder of the network, removed at the end unless it is to be kept."""
    if kept is not None:
        try:
            os.makedirs(kept, mode=0o700, exist_ok=True)
        except OSError as error:
            cure = "name a folder that this user can write to"
            raise CommandError.of_file("--keep", "use", kept, error, cure, "output") from None
        yield os.path.abspath(kept)
        return
    folder = tempfile.mkdtemp(prefix="dht14-testnet-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
