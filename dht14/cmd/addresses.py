"""Where the node is that a command asks: found as the node itself finds its addresses."""

import argparse
import ipaddress
import os
from typing import TYPE_CHECKING

from dht14.cmd.parser import add_json_argument, host_port
from dht14.kademlia.contact import Address

if TYPE_CHECKING:
    from dht14.app.options import NodeSettings

# `dht14.app.config` is imported where it is needed: it takes as long as all the rest of a client.

DEFAULT = ("127.0.0.1", 7400)

ROLES = ("node", "bootstrap_node")


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of every command that asks a node."""
    parser.epilog = (
        "Exit codes: 0 found, stored or deleted; 1 not found, or refused; 2 wrong usage; 3 no node answers, or it "
        "is not ready; 78 wrong configuration."
    )
    parser.add_argument(
        "--api-address",
        metavar="HOST:PORT",
        type=host_port,
        help="where the node's API is (default: as the configuration or DHT14_NODE_API_ADDRESS says, else "
        "127.0.0.1:7400)",
    )
    add_config_argument(parser)
    add_json_argument(parser)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """The configuration file of the node."""
    parser.add_argument("--config", "-c", metavar="FILE", help="configuration file of the node")


def add_role_argument(parser: argparse.ArgumentParser) -> None:
    """What the node was started as."""
    parser.add_argument("--role", choices=ROLES, default="node", help="what it is (default: node)")


def api_address(args: argparse.Namespace) -> Address:
    """Where the API is: what was typed, else the environment, the file, the default. Raises `ConfigError`."""
    if args.api_address is not None:
        return of_this_host(args.api_address)
    if args.config is None and not any(name.startswith("DHT14_") for name in os.environ):
        return DEFAULT
    return of_this_host(node_settings("node", args.config, {}).api_address)


def node_settings(role: str, path: str | None, given: dict[str, str | None]) -> "NodeSettings":
    """`[node]` of the node's configuration, as it reads it; `given` are options that were typed. Raises
    `ConfigError`."""
    from dht14.app import config
    from dht14.app.options import Role

    typed = {name: text for name, text in given.items() if text is not None}
    return config.load_node(Role.NODE if role == "node" else Role.BOOTSTRAP, path, os.environ, typed)


def of_this_host(address: Address) -> Address:
    """An address that can be sent to; who listens on every one listens on loopback."""
    host, port = address
    try:
        any_address = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return address
    if not any_address:
        return address
    return ("::1" if ":" in host else "127.0.0.1"), port
