"""`dht14 health`: checks that a node of this host works, for monitors and orchestrators.

A node is healthy when it answers a HELLO at its P2P port and, unless it is a bootstrap node, a GET at its
API, and when it can read and write its values. A node that is alone is healthy: a restart would not bring the
others back. So is a node whose store has reached its own limit.
"""

import argparse
import secrets
import socket
import time

from dht14.app.data_dir import trouble_at
from dht14.app.state_file import read_state
from dht14.cmd.api_client import ask
from dht14.cmd.command_error import DONE, NO_NODE, CommandError
from dht14.cmd.node_arguments import (
    add_config_argument,
    add_role_argument,
    connectable_address,
    node_settings,
)
from dht14.cmd.output import print_bytes, print_json
from dht14.cmd.parser import add_json_argument
from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import ID_BYTES
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.session.handshake import CID_BYTES, KEY_BYTES, Challenge, hello
from dht14.wire.api_messages import Get

API_TIMEOUT = 6.0
"""Seconds. A node answers a GET within 5 s, whatever its peers do."""

HELLO_ATTEMPTS, HELLO_TIMEOUT = 3, 1.0
"""Datagrams, and seconds between two: one may arrive while the receive queue of a busy node is full."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 health`."""
    parser.description = (
        "Check that a node of this host works: it answers a HELLO at its P2P port and, unless it is a "
        "bootstrap node, a GET of a random key at its API, and its data directory says that it can read and "
        "write its values (if this user may look there). Addresses and directory are found as the node "
        "finds them: options, environment, configuration file, defaults."
    )
    parser.epilog = "Exit codes: 0 healthy, 3 not healthy, 2 wrong usage, 78 wrong configuration."
    add_config_argument(parser)
    add_role_argument(parser)
    parser.add_argument(
        "--p2p-address", metavar="HOST:PORT", help="address on which it listens for other nodes"
    )
    parser.add_argument("--api-address", metavar="HOST:PORT", help="address of its API")
    parser.add_argument("--data-dir", metavar="DIR", help="its data directory")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Check the node and return the exit code. Raises `ConfigError`."""
    options = {name: getattr(args, name) for name in ("p2p_address", "api_address", "data_dir")}
    node = node_settings(args.role, args.config, options)
    try:
        seconds = p2p_seconds(connectable_address(node.p2p_address))
    except CommandError:
        state = read_state(node.data_dir)
        if state is not None and "identity" in state.awaited:
            message = "the node is starting: it mines its node id, and answers nobody before; see its log"
            raise CommandError(NO_NODE, message, "not_ready") from None
        raise
    answer: dict[str, object] = {"healthy": True, "p2p_seconds": seconds}
    if args.role == "node":
        answer["api_seconds"] = api_seconds(connectable_address(node.api_address))
    answer["disk"] = _disk(node.data_dir)
    if args.json:
        print_json(answer)
    else:
        print_bytes(b"healthy\n")
    return DONE


def _disk(data_dir: str) -> str:
    """Return "working", or "unknown" if this user may not look. Raises `CommandError` if the disk does not
    work."""
    try:
        trouble = trouble_at(data_dir)
    except PermissionError:
        return "unknown"
    if trouble:
        raise CommandError(NO_NODE, trouble)
    return "working"


def api_seconds(address: Address) -> float:
    """Return the seconds that a GET took. Raises `CommandError` without an answer.

    The key is random: if all nodes of a network asked for the same key, its holders would be busy with that.
    """
    began = time.monotonic()
    ask(address, Get(secrets.token_bytes(ID_BYTES)), API_TIMEOUT)
    return round(time.monotonic() - began, 6)


def p2p_seconds(address: Address) -> float:
    """Return the seconds until a HELLO was answered. Raises `CommandError` without an answer."""
    began = time.monotonic()
    try:
        family, kind, _, _, found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as udp:
            udp.settimeout(HELLO_TIMEOUT)
            udp.connect(found)
            # One connection id for all: a slow node may answer a HELLO after the next one.
            cid = secrets.token_bytes(CID_BYTES)
            if not any(_answers_hello(udp, cid) for _ in range(HELLO_ATTEMPTS)):
                raise _silent(address, f"no answer within {HELLO_ATTEMPTS * HELLO_TIMEOUT:.0f} s")
    except OSError as error:
        raise _silent(address, error.strerror or str(error)) from None
    return round(time.monotonic() - began, 6)


def _answers_hello(udp: socket.socket, cid: bytes) -> bool:
    udp.send(hello(cid, secrets.token_bytes(KEY_BYTES), None))
    try:
        return Challenge.parse(udp.recv(MAX_DATAGRAM)).cid == cid
    except (TimeoutError, Malformed):
        return False


def _silent(address: Address, why: str) -> CommandError:
    return CommandError(NO_NODE, f"no node at {address[0]} port {address[1]} (UDP): {why}")
