"""`dht14 wait`: waits until a node is ready, has joined its network, or has opened its values.

The API shows that a node is ready: a request waits there until it is. The rest a node writes into its data
directory, for commands on the same host. A process that does not run any more, or is suspended, cannot take
that back: so its admin surface must answer as well, if it has one.
"""

import argparse
import secrets
import time
from collections.abc import Callable

from attrs import frozen

from dht14.app.state_file import NodeState, read_state
from dht14.client.address import format_address
from dht14.client.channel import ANSWER_TIMEOUT
from dht14.cmd.api_client import get
from dht14.cmd.command_error import DONE, NO_NODE, CommandError
from dht14.cmd.node_arguments import (
    add_config_argument,
    add_role_argument,
    connectable_address,
    node_settings,
)
from dht14.cmd.output import print_bytes, print_json
from dht14.cmd.parser import add_json_argument, seconds
from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import ID_BYTES

POLL_INTERVAL = 0.1
"""Seconds between two checks."""

_AWAITED = {
    "identity": "it mines its node id",
    "values": "it opens its values",
    "join": "it joins its network",
}
_ALONE = "no other node answers it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 wait`."""
    parser.description = (
        "Wait until a node is ready: its API answers and can know what is stored. Or, for a node of this "
        "host, until it has joined (other nodes answer it) or has opened its values; it records both in its "
        "data directory. Addresses and directory are found as the node finds them: options, environment, "
        "configuration file, defaults."
    )
    parser.epilog = "Exit codes: 0 the state is reached, 3 timeout, 2 wrong usage, 78 wrong configuration."
    parser.add_argument(
        "--for",
        dest="what",
        choices=("ready", "joined", "values"),
        default="ready",
        help="what to wait for (default: ready)",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds(86_400),
        default=60.0,
        help="seconds to wait at most (default: 60)",
    )
    add_config_argument(parser)
    add_role_argument(parser)
    parser.add_argument("--api-address", metavar="HOST:PORT", help="address of its API")
    parser.add_argument("--data-dir", metavar="DIR", help="its data directory")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Wait and return the exit code. Raises `ConfigError`."""
    given = {"api_address": args.api_address, "data_dir": args.data_dir}
    node = node_settings(args.role, args.config, given)
    began = time.monotonic()
    missing_now: Callable[[float], str]
    # A directory alone names a node better than an address that comes from the defaults.
    is_asked = args.api_address is not None or args.data_dir is None
    if args.what == "ready" and args.role == "node" and is_asked:
        missing_now = _ApiCheck(connectable_address(node.api_address)).missing
    else:
        missing_now = _StateCheck(node.data_dir, args.what).missing
    until = began + args.timeout
    while missing := missing_now(max(until - time.monotonic(), POLL_INTERVAL)):
        if time.monotonic() >= until:
            raise CommandError(
                NO_NODE,
                f"not {args.what if args.what != 'values' else 'open'} after {args.timeout:g} s: {missing}",
                "timeout",
                missing=missing,
            )
        time.sleep(min(POLL_INTERVAL, max(until - time.monotonic(), 0)))
    if args.json:
        print_json({args.what: True, "seconds": round(time.monotonic() - began, 6)})
    else:
        print_bytes(f"{args.what}\n".encode())
    return DONE


@frozen
class _ApiCheck:
    """Asks the API of a node for a random key."""

    address: Address

    def missing(self, timeout: float) -> str:
        """Return what is missing within `timeout` seconds; empty if the node is ready."""
        try:
            get(self.address, secrets.token_bytes(ID_BYTES), min(timeout, ANSWER_TIMEOUT))
        except CommandError as end:
            if end.error == "not_ready":
                where = format_address(*self.address)
                return f"the node at {where} mines its node id, opens its values or joins"
            return str(end)
        return ""


@frozen
class _StateCheck:
    """Reads how far a node is from its data directory."""

    path: str
    what: str

    def missing(self, timeout: float) -> str:
        """Return what is missing within `timeout` seconds; empty if nothing is."""
        state = read_state(self.path)
        if state is None:
            return f"no node runs in {self.path}; name its directory with --data-dir or --config"
        return self._lack(state) or self._silence(timeout)

    def _silence(self, timeout: float) -> str:
        from dht14.cmd.admin_client import TIMEOUT, running_node  # Loads the client of HTTP.

        return running_node(self.path, timeout=min(timeout, TIMEOUT)).silence()

    def _lack(self, state: NodeState) -> str:
        if self.what == "joined":
            # A node without an id calls nobody: that others do not answer it is no news.
            return "" if state.joined else _AWAITED["identity"] if "identity" in state.awaited else _ALONE
        awaited = [what for what in state.awaited if self.what == "ready" or what in ("identity", "values")]
        return " and ".join(_AWAITED.get(what, what) for what in awaited)
