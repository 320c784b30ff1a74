"""Commands that look into a node: `dht14 status`, `peers`, `table`, `keys`, `locate`, and `log-level`."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TypedDict

from dht14.client.address import format_address
from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, NOT_DONE
from dht14.cmd.keys import KEY_HELP, parse_key
from dht14.cmd.output import print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import duration
from dht14.cmd.table import Cell, Column, byte_size, milliseconds, print_lines, print_table
from dht14.net.admin.view import (
    BucketJson,
    HolderJson,
    KeptJson,
    PeerJson,
    RecordJson,
    RecordsJson,
    StatusJson,
)


class PeersJson(TypedDict):
    """The answer of `/v1/peers`."""

    peers: list[PeerJson]


class TableJson(TypedDict):
    """The answer of `/v1/table`."""

    buckets: list[BucketJson]


class HoldersJson(TypedDict):
    """The answer of `/v1/locate/KEY`."""

    key: str
    holders: list[HolderJson]


class LogLevelJson(TypedDict):
    """The answer of `/v1/loglevel`."""

    level: str


LOG_LEVELS = ("debug", "info", "warn", "error", "critical")

PAGE = 1_000
"""Records that are asked for at once."""

SHOWN_DIGITS = 16
"""Of a node id on a terminal. In a pipe and in JSON it is whole."""

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
_KEY_COLUMNS = (
    Column("key", 64),
    Column("kind", 7),
    Column("bytes", 5, right=True),
    Column("version", 20, right=True),
    Column("copies", right=True),
    Column("expires in", 10, right=True),
    Column("state"),
)
_HOLDER_COLUMNS = (
    Column("node"),
    Column("address"),
    Column("outcome"),
    Column("version", right=True),
    Column("kind"),
    Column("bytes", right=True),
    Column("expires in", right=True),
    Column("ms", right=True),
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
        print_json({**status})
    else:
        print_lines(status_lines(status, client))
    return DONE


def status_lines(status: StatusJson, client: AdminClient) -> list[str]:
    """Return the state of a node as lines for people."""
    size, storage, kept = status["network_size"], status["storage"], status["kept"]
    contacts = f"{status['contacts']:,}" + (f" of about {size:,} nodes" if size is not None else "")
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
    return [f"{name:<9} {text}" for name, text in lines.items()] + [status["advice"]]


def state_of(status: StatusJson) -> str:
    """Describe in a few words whether a node works."""
    if not status["ready"]:
        return "not ready: " + ", ".join(status["reasons"])
    return "ready" if status["joined"] else "ready, but alone: no other node answers"


def kept_line(kept: KeptJson) -> str:
    """Describe the list of kept values in a line."""
    facts = [f"{kept['values']:,} values, {byte_size(kept['used'])} of {byte_size(kept['limit'])}"]
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
        print_json({**answer})
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
        print_json({**answer})
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


# keys and locate


def add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 keys`."""
    parser.description = "List the keys of the records that a node holds on its disk. Values are not shown."
    parser.add_argument("--limit", metavar="N", type=whole_number(10**9, 1), help="list at most N")
    add_admin_arguments(parser)


def run_keys(args: argparse.Namespace) -> int:
    """List the records of a node and return the exit code."""
    pages = _pages(admin_client(args), args.limit)
    if args.json:
        print_json({"records": [record for page in pages for record in page]})
        return DONE
    for number, page in enumerate(pages):
        if not print_table(_KEY_COLUMNS, map(_key_row, page), has_head=number == 0):
            break
    return DONE


def _pages(client: AdminClient, limit: int | None) -> Iterator[list[RecordJson]]:
    left = limit
    cursor: str | None = ""
    while cursor is not None and left != 0:
        wanted = PAGE if left is None else min(PAGE, left)
        answer = client.get("/v1/records", RecordsJson, **({"after": cursor} if cursor else {}), limit=wanted)
        # A page can have some records more than were asked for.
        page = answer["records"][:left]
        yield page
        cursor = answer["next"]
        left = left - len(page) if left is not None else None


def _key_row(record: RecordJson) -> Sequence[Cell]:
    state = "deleted" if record["deleted"] else "cached" if record["cached"] else "held"
    return (
        Cell.of(record["key"]),
        Cell.of(record["kind"]),
        Cell.of(record["bytes"]),
        Cell.of(record["version"]),
        Cell.of(record["replication"]),
        until(record["expires_in"]),
        Cell.of(state),
    )


def add_locate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 locate`."""
    parser.description = (
        "Let a node ask the other nodes nearest to a key what they hold under it, and list them, nearest "
        "first; the node itself is listed if it holds the key. The exit code is 1 if nobody holds anything."
    )
    add_key_argument(parser)
    add_admin_arguments(parser)


def run_locate(args: argparse.Namespace) -> int:
    """List the holders of a key and return the exit code."""
    answer = admin_client(args).get(f"/v1/locate/{parse_key(args.key).hex()}", HoldersJson)
    is_held = any(holder["outcome"] == "holds" for holder in answer["holders"])
    if args.json:
        print_json({**answer} if is_held else {**answer, "error": "not_found"})
    else:
        print_table(_HOLDER_COLUMNS, map(_holder_row, answer["holders"]))
        if not answer["holders"]:
            print_status("this node does not hold it, and no other node can be asked")
    return DONE if is_held else NOT_DONE


def _holder_row(holder: HolderJson) -> Sequence[Cell]:
    return (
        id_cell(holder["node_id"]),
        Cell.of(format_address(holder["host"], holder["port"])),
        _outcome(holder),
        Cell.of(holder["version"]),
        Cell.of(holder["kind"]),
        Cell.of(holder["bytes"]),
        until(holder["expires_in"]),
        Cell.of(milliseconds(holder["seconds"])),
    )


def _outcome(holder: HolderJson) -> Cell:
    outcome = holder["outcome"]
    return Cell(f"{outcome} (this node)" if holder["this_node"] else outcome, outcome)


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
    answer = admin_client(args).post("/v1/loglevel", LogLevelJson, level=args.level)
    if args.json:
        print_json({**answer})
    else:
        print_lines([answer["level"]])
    return DONE


# Shared


def add_key_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument KEY."""
    parser.add_argument("key", metavar="KEY", help=KEY_HELP)


def id_cell(node_id: str) -> Cell:
    """Show the beginning of a node id to people."""
    return Cell(node_id[:SHOWN_DIGITS], node_id)


def ago(seconds: float | None) -> Cell:
    """Show a moment of the past; programs get seconds."""
    return Cell.of(None) if seconds is None else Cell(f"{duration(seconds)} ago", f"{seconds:.1f}")


def until(seconds: float | None) -> Cell:
    """Show a time that is left; programs get seconds."""
    return Cell.of(None) if seconds is None else Cell(duration(seconds), f"{seconds:.1f}")
