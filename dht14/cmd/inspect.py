"""The state of a node and its contacts: `dht14 status`, `peers` and `table`; and `log-level`."""

import argparse
from collections.abc import Sequence
from typing import TypedDict

from dht14.client.address import format_address
from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE
from dht14.cmd.output import print_json
from dht14.cmd.progress import counted, duration
from dht14.cmd.table import Cell, Column, ago, byte_size, id_cell, milliseconds, print_lines, print_table
from dht14.net.admin.view import BucketJson, KeptJson, PeerJson, StatusJson


class PeersJson(TypedDict):
    """The answer of `/v1/peers`."""

    peers: list[PeerJson]


class TableJson(TypedDict):
    """The answer of `/v1/table`."""

    buckets: list[BucketJson]


class LogLevelJson(TypedDict):
    """The answer of `/v1/loglevel`."""

    level: str


LOG_LEVELS = ("debug", "info", "warn", "error", "critical")

_PEER_COLUMNS = (
    Column("node"),
    Column("address"),
    Column("shared bits", right=True),
    Column("rtt ms", right=True),
    Column("last seen", right=True),
    Column("failures", right=True),
    Column("holds values"),
)
_TABLE_COLUMNS = (
    Column("bucket", right=True),
    Column("contacts", right=True),
    Column("capacity", right=True),
    Column("replacements", right=True),
    Column("failing", right=True),
    Column("last lookup", right=True),
)


# status


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 status`."""
    parser.description = (
        "Show a node at a glance: its id, state, addresses, contacts and store. The last line says what is "
        "wrong and what to do about it, or that all is well."
    )
    add_admin_arguments(parser)


def run_status(args: argparse.Namespace) -> int:
    """Show the state of a node and return the exit code."""
    client = admin_client(args)
    status = client.get("/v1/status", StatusJson)
    if args.json:
        print_json(status)
    else:
        print_lines(status_lines(status, client))
    return DONE


def status_lines(status: StatusJson, client: AdminClient) -> list[str]:
    """Return the state of a node as lines for people."""
    size, storage, kept = status["network_size"], status["storage"], status["kept"]
    contacts = f"{status['contacts']:,}" + (f" of about {counted(size, 'node')}" if size is not None else "")
    lines = {
        "node": status["node_id"] or "it searches for the proof of work of its id",
        "role": f"{status['role']} in the network {status['network']}, version {status['version']}",
        "state": state_of(status),
        "up for": duration(status["uptime"]),
        "P2P": status["p2p_address"],
        "API": status["api_address"] or "none",
        "admin": client.place,
        "contacts": contacts,
    }
    if storage is not None:
        lines["records"] = f"{storage['records']:,}"
        lines["storage"] = (
            f"{byte_size(storage['used'])} of {byte_size(storage['limit'])}, "
            f"{byte_size(storage['largest_share'])} of it held for the largest writer"
        )
    if kept is not None and (kept["values"] or kept["stopped"]):
        lines["kept"] = kept_line(kept)
    if status["watches"]["clients"]:
        lines["watches"] = "of clients: {clients:,}, of keys: {keys:,}".format(**status["watches"])
    return [f"{name:<9} {text}" for name, text in lines.items()] + [status["advice"]]


def state_of(status: StatusJson) -> str:
    """Describe in a few words whether a node works."""
    if not status["ready"]:
        return "not ready: " + ", ".join(status["reasons"])
    return "ready" if status["joined"] else "ready, but alone: no other node answers"


def kept_line(kept: KeptJson) -> str:
    """Describe the list of kept values in a line."""
    facts = [f"{counted(kept['values'], 'value')}, {byte_size(kept['used'])} of {byte_size(kept['limit'])}"]
    if kept["failing"]:
        facts.append(f"{kept['failing']:,} could not be renewed")
    if kept["stopped"]:
        facts.append(f"{kept['stopped']:,} replaced or deleted since")
    return ", ".join(facts)


# peers and table


def add_peers_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 peers`."""
    parser.description = "List the contacts of a node, nearest first."
    add_admin_arguments(parser)


def run_peers(args: argparse.Namespace) -> int:
    """List the contacts of a node and return the exit code."""
    answer = admin_client(args).get("/v1/peers", PeersJson)
    if args.json:
        print_json(answer)
    else:
        print_table(_PEER_COLUMNS, map(_peer_row, answer["peers"]))
    return DONE


def _peer_row(peer: PeerJson) -> Sequence[Cell]:
    return (
        id_cell(peer["node_id"]),
        Cell.of(format_address(peer["host"], peer["port"])),
        Cell.of(peer["shared_bits"]),
        Cell.of(milliseconds(peer["rtt"])),
        ago(peer["last_seen"]),
        Cell.of(peer["failures"]),
        Cell.of("yes" if peer["holds_values"] else "no"),
    )


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 table`."""
    parser.description = (
        "List the k-buckets of a node, the farthest half of the network first. The number of a bucket is the "
        "number of leading bits that its ids share with the id of the node."
    )
    add_admin_arguments(parser)


def run_table(args: argparse.Namespace) -> int:
    """List the k-buckets of a node and return the exit code."""
    answer = admin_client(args).get("/v1/table", TableJson)
    if args.json:
        print_json(answer)
    else:
        print_table(_TABLE_COLUMNS, map(_bucket_row, answer["buckets"]))
    return DONE


def _bucket_row(bucket: BucketJson) -> Sequence[Cell]:
    return (
        Cell.of(bucket["depth"]),
        Cell.of(len(bucket["contacts"])),
        Cell.of(bucket["capacity"]),
        Cell.of(bucket["replacements"]),
        Cell.of(sum(peer["failures"] > 0 for peer in bucket["contacts"])),
        ago(bucket["last_lookup"]),
    )


# log-level


def add_log_level_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 log-level`."""
    parser.description = (
        "Change the lowest level that a running node logs, until it ends. [node] log_level is for good."
    )
    parser.add_argument("level", metavar="LEVEL", choices=LOG_LEVELS, help=", ".join(LOG_LEVELS))
    add_admin_arguments(parser)


def run_log_level(args: argparse.Namespace) -> int:
    """Change the log level of a node and return the exit code."""
    answer = admin_client(args).send("POST", "/v1/loglevel", LogLevelJson, level=args.level)
    if args.json:
        print_json(answer)
    else:
        print_lines([answer["level"]])
    return DONE
