"""`dht14 health`: whether a node of this host works, for whoever watches over it.

A node is healthy when it answers, a HELLO at its P2P port and, unless it is a bootstrap node, a GET at its API, and
when it can read and write what it keeps. Whether it knows others is no part of that: a restart would not bring them
back. Nor is a store that is full by its own limit.
"""

import argparse
import secrets
import socket
import time

from dht14.app.data_dir import trouble_at
from dht14.cmd.addresses import add_config_argument, add_role_argument, node_settings, of_this_host
from dht14.cmd.api_client import ask
from dht14.cmd.ending import DONE, NO_NODE, Ended, print_bytes, print_json
from dht14.cmd.parser import add_json_argument
from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import ID_BYTES
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.session.handshake import CID_BYTES, KEY_BYTES, Challenge, hello
from dht14.wire.api_messages import encode_get

API_SECONDS = 6.0
"""A node answers a GET within 5 s, whatever its peers do."""

HELLOS, HELLO_SECONDS = 3, 1.0
"""So many datagrams, so far apart: one may come while the queue of a busy node is full."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 health`."""
    parser.description = (
        "Ask a node of this host for an answer: to a HELLO at its P2P port and, unless it is a bootstrap node, "
        "to a GET of a random key at its API; and look into its data directory for whether it can read and write "
        "its values, where this user may. All of them are found as the node finds them: options, environment, "
        "configuration file, defaults."
    )
    parser.epilog = "Exit codes: 0 healthy, 3 not, 2 wrong usage, 78 wrong configuration."
    add_config_argument(parser)
    add_role_argument(parser)
    parser.add_argument("--p2p-address", metavar="HOST:PORT", help="where it listens for other nodes")
    parser.add_argument("--api-address", metavar="HOST:PORT", help="where its API is")
    parser.add_argument("--data-dir", metavar="PATH", help="its data directory")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the node; the exit code. Raises `ConfigError` where the configuration is wrong."""
    options = {name: getattr(args, name) for name in ("p2p_address", "api_address", "data_dir")}
    node = node_settings(args.role, args.config, options)
    answer: dict[str, object] = {"healthy": True, "p2p_seconds": p2p_seconds(of_this_host(node.p2p_address))}
    if args.role == "node":
        answer["api_seconds"] = api_seconds(of_this_host(node.api_address))
    answer["disk"] = _disk(node.data_dir)
    if args.json:
        print_json(answer)
    else:
        print_bytes(b"healthy\n")
    return DONE


def _disk(data_dir: str) -> str:
    """ "working"; "unknown" where this user may not look. Raises `Ended` where it is not working."""
    try:
        trouble = trouble_at(data_dir)
    except PermissionError:
        return "unknown"
    if trouble:
        raise Ended(NO_NODE, trouble)
    return "working"


def api_seconds(address: Address) -> float:
    """The seconds that a GET took. Raises `Ended` where none is answered.

    Of a random key: all nodes of a network asking for the same one would keep its holders busy.
    """
    began = time.monotonic()
    key = secrets.token_bytes(ID_BYTES)
    ask(address, key, encode_get(key), API_SECONDS)
    return round(time.monotonic() - began, 6)


def p2p_seconds(address: Address) -> float:
    """The seconds until a HELLO was answered. Raises `Ended` where none is."""
    began = time.monotonic()
    try:
        family, kind, _, _, found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as udp:
            udp.settimeout(HELLO_SECONDS)
            udp.connect(found)
            if not any(_answers_hello(udp) for _ in range(HELLOS)):
                raise _silent(address, f"no answer within {HELLOS * HELLO_SECONDS:.0f} s")
    except OSError as error:
        raise _silent(address, error.strerror or str(error)) from None
    return round(time.monotonic() - began, 6)


def _answers_hello(udp: socket.socket) -> bool:
    cid = secrets.token_bytes(CID_BYTES)
    udp.send(hello(cid, secrets.token_bytes(KEY_BYTES), None))
    try:
        return Challenge.parse(udp.recv(MAX_DATAGRAM)).cid == cid
    except (TimeoutError, Malformed):
        return False


def _silent(address: Address, why: str) -> Ended:
    return Ended(NO_NODE, f"no node at {address[0]} port {address[1]} (UDP): {why}")
