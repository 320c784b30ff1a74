"""`dht14 wait`: until a node is ready, has joined its network, or has opened its values.

Whether it is ready its API tells: a request waits there until it is. The rest a node writes down in its data
directory, for who waits on its host.
"""

import argparse
import secrets
import time
from collections.abc import Callable

from attrs import frozen

from dht14.app.state_file import NodeState, read_state
from dht14.cmd.addresses import add_config_argument, add_role_argument, node_settings, of_this_host
from dht14.cmd.api_client import ANSWER_SECONDS, get, shown
from dht14.cmd.ending import DONE, NO_NODE, Ended, print_bytes, print_json
from dht14.cmd.parser import add_json_argument, seconds
from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import ID_BYTES

LOOK_INTERVAL = 0.1
"""Seconds between two looks."""

_AWAITED = {
    "identity": "it searches its identity",
    "values": "it opens its values",
    "join": "it joins its network",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 wait`."""
    parser.description = (
        "Wait until a node is ready: until its API answers and can know what is stored. Or, for a node of this "
        "host, until it has joined (others answer it) or has opened its values; these two it says in its data "
        "directory. Addresses and directory are found as the node finds them: options, environment, "
        "configuration file, defaults."
    )
    parser.epilog = "Exit codes: 0 it is so, 3 the time is over, 2 wrong usage, 78 wrong configuration."
    parser.add_argument(
        "--for", dest="what", choices=("ready", "joined", "values"), default="ready", help="(default: ready)"
    )
    parser.add_argument(
        "--timeout", metavar="S", type=seconds(86_400), default=60.0, help="seconds (default: 60)"
    )
    add_config_argument(parser)
    add_role_argument(parser)
    parser.add_argument("--api-address", metavar="HOST:PORT", help="where its API is")
    parser.add_argument("--data-dir", metavar="DIR", help="its data directory")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Wait; the exit code. Raises `ConfigError` where the configuration is wrong."""
    given = {"api_address": args.api_address, "data_dir": args.data_dir}
    node = node_settings(args.role, args.config, given)
    began = time.monotonic()
    look: Callable[[float], str]
    if args.what == "ready" and args.role == "node":
        look = _Api(of_this_host(node.api_address)).missing
    else:
        look = _Directory(node.data_dir, args.what).missing
    until = began + args.timeout
    while missing := look(max(until - time.monotonic(), LOOK_INTERVAL)):
        if time.monotonic() >= until:
            raise Ended(
                NO_NODE,
                f"not {args.what if args.what != 'values' else 'open'} after {args.timeout:g} s: {missing}",
                "timeout",
                missing=missing,
            )
        time.sleep(min(LOOK_INTERVAL, max(until - time.monotonic(), 0)))
    if args.json:
        print_json({args.what: True, "seconds": round(time.monotonic() - began, 6)})
    else:
        print_bytes(f"{args.what}\n".encode())
    return DONE


@frozen
class _Api:
    """A node whose API is asked for a random key."""

    address: Address

    def missing(self, patience: float) -> str:
        """What is missing, nothing where the node is ready; within `patience` seconds."""
        try:
            get(self.address, secrets.token_bytes(ID_BYTES), min(patience, ANSWER_SECONDS))
        except Ended as end:
            if end.error == "not_ready":
                return f"the node at {shown(self.address)} searches its identity, opens its values or joins"
            return str(end)
        return ""


@frozen
class _Directory:
    """A node that says in its data directory how far it is."""

    path: str
    what: str

    def missing(self, patience: float) -> str:
        """What is missing, nothing where it is so; at once."""
        state = read_state(self.path)
        if state is None:
            return f"no node that says how far it is runs in {self.path}; --data-dir or --config names another directory"
        return self._lack(state)

    def _lack(self, state: NodeState) -> str:
        if self.what == "joined":
            return "" if state.joined else "no other node answers it"
        awaited = [what for what in state.awaited if self.what == "ready" or what in ("identity", "values")]
        return " and ".join(_AWAITED.get(what, what) for what in awaited)
