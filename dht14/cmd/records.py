"""The records of a node and of the holders of a key: `dht14 keys` and `dht14 locate`."""

import argparse
from collections.abc import Sequence
from typing import TypedDict

from dht14.client.address import format_address
from dht14.cmd.admin_client import add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, NOT_DONE
from dht14.cmd.keys import add_key_argument, parse_key
from dht14.cmd.output import print_json, print_status
from dht14.cmd.pages import add_limit_argument, pages_of, print_pages
from dht14.cmd.table import Cell, Column, id_cell, milliseconds, print_table, until
from dht14.net.admin.view import HolderJson, RecordJson, RecordsJson


class HoldersJson(TypedDict):
    """The answer of `/v1/locate/KEY`."""

    key: str
    holders: list[HolderJson]


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


def add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 keys`."""
    parser.description = "List the keys of the records that a node holds on its disk. Values are not shown."
    add_limit_argument(parser)
    add_admin_arguments(parser)


def run_keys(args: argparse.Namespace) -> int:
    """List the records of a node and return the exit code."""
    pages = pages_of(admin_client(args), "/v1/records", RecordsJson, "records", args.limit)
    return print_pages(pages, "records", _KEY_COLUMNS, _key_row, as_json=args.json)


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
        print_json(answer if is_held else {**answer, "error": "not_found"})
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
