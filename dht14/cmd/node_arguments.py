"""Arguments that say which node a command asks, and the addresses that follow from them.

A command finds the addresses as the node itself does: options, environment, configuration file, defaults.
"""

import argparse
import ipaddress
import os
from typing import TYPE_CHECKING

from dht14.app.admin_files import TOKEN_NAME
from dht14.client.address import DEFAULT_ADDRESS, parse_address
from dht14.cmd.parser import add_json_argument, host_port, whole_number
from dht14.kademlia.contact import Address

if TYPE_CHECKING:
    from dht14.app.options import NodeSettings

# `dht14.app.config` is imported where it is used: it takes as long to load as all the rest of a client.

ROLES = ("node", "bootstrap_node")


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks a node."""
    parser.epilog = (
        "Exit codes: 0 found, stored or deleted; 1 not found, or refused; 2 wrong usage; 3 no node answers, "
        "or the node is not ready; 78 wrong configuration."
    )
    add_api_argument(parser)
    add_config_argument(parser)
    add_json_argument(parser)


def add_api_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the API of a node is."""
    parser.add_argument(
        "--api-address",
        metavar="HOST:PORT",
        type=host_port,
        help="address of the node's API (default: DHT14_NODE_API_ADDRESS, else the configuration file, else "
        f"{DEFAULT_ADDRESS})",
    )


def add_replication_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the commands that write."""
    parser.add_argument(
        "--replication",
        metavar="N",
        type=whole_number(0xFF),
        default=0,
        help="number of nodes to store it on (default: the node's default)",
    )


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option for the configuration file."""
    parser.add_argument("--config", "-c", metavar="FILE", help="configuration file of the node")


def add_role_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option for the kind of node."""
    parser.add_argument("--role", choices=ROLES, default="node", help="kind of node (default: node)")


def add_surface_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options that say where the admin surface of a node is."""
    parser.add_argument("--data-dir", metavar="DIR", help="data directory of the node")
    parser.add_argument(
        "--admin-address",
        metavar="HOST:PORT",
        help="address of its admin surface, or unix for the socket in its data directory (the default)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file with the token of a node at HOST:PORT (default: {TOKEN_NAME} in its data directory)",
    )


def api_address(args: argparse.Namespace) -> Address:
    """Return the address of the API. Raises `ConfigError`."""
    if args.api_address is not None:
        return connectable_address(args.api_address)
    if args.config is None and not any(name.startswith("DHT14_") for name in os.environ):
        return parse_address(DEFAULT_ADDRESS)
    return connectable_address(node_settings("node", args.config, {}).api_address)


def node_settings(role: str, path: str | None, given: dict[str, str | None]) -> "NodeSettings":
    """Read section `[node]` as the node reads it. `given` are options from the command line.

    Raises `ConfigError`.
    """
    from dht14.app import config
    from dht14.app.options import Role

    typed = {name: text for name, text in given.items() if text is not None}
    return config.load_node(Role.NODE if role == "node" else Role.BOOTSTRAP, path, os.environ, typed)


def connectable_address(address: Address) -> Address:
    """Replace an unspecified address (0.0.0.0, ::) with loopback, where a node with it listens too."""
    host, port = address
    try:
        any_address = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return address
    if not any_address:
        return address
    return ("::1" if ":" in host else "127.0.0.1"), port
