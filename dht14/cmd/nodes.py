"""`dht14 nodes`: walks the network."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from dht14.client.address import format_address
from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client, has_shape
from dht14.cmd.command_error import DONE, NO_NODE, NOT_DONE, CommandError
from dht14.cmd.event_stream import events
from dht14.cmd.output import print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.cmd.table import SHOWN_DIGITS, Cell, Column, id_cell, milliseconds, print_table
from dht14.net.admin.view import NetworkNodeJson, WalkEndJson

MOST = 10_000
"""Nodes that one walk can ask."""

_COLUMNS = (
    Column("node", SHOWN_DIGITS),
    Column("address", len("255.255.255.255:65535")),
    Column("reachable"),
    Column("rtt ms", 8, right=True),
    Column("version", len("dht14/10.10.10")),
    Column("holds values"),
    Column("named", right=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 nodes`."""
    parser.description = (
        "Walk the network from a node: ask each node that it hears of for others, and list them as they "
        "answer, with round trip and version. A walk asks 25 nodes a second and ends after 10 minutes. The "
        "node that walks is not listed. The last line, on stderr, has the sums. The exit code is 1 if no "
        "node answers."
    )
    parser.add_argument(
        "--limit", metavar="N", type=whole_number(MOST, 1), default=1_000, help="ask at most N (1000)"
    )
    add_admin_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Walk the network and return the exit code."""
    return _walk(admin_client(args), args.limit, args.json)


def _walk(client: AdminClient, limit: int, as_json: bool) -> int:
    is_first = True
    for kind, content in _found(client, limit):
        if kind == "end":
            _print_end(content, as_json)
            return DONE if content["reachable"] else NOT_DONE
        if as_json:
            is_read = print_json(content)
        else:
            is_read = print_table(_COLUMNS, [_row(content)], has_head=is_first)
        is_first = False
        if not is_read:
            return DONE
    raise CommandError(NO_NODE, f"the node at {client.place} has ended")


def _found(client: AdminClient, limit: int) -> Iterator[tuple[str, Any]]:
    for kind, content in events(client, f"/v1/nodes?limit={limit}"):
        shape = WalkEndJson if kind == "end" else NetworkNodeJson
        if not has_shape(content, shape):
            raise client.stranger()
        yield kind, content


def _row(node: NetworkNodeJson) -> Sequence[Cell]:
    holds_values = node["holds_values"]
    return (
        id_cell(node["node_id"]),
        Cell.of(format_address(node["host"], node["port"])),
        Cell.of("yes" if node["reachable"] else "no"),
        Cell.of(milliseconds(node["rtt"])),
        Cell.of(node["version"]),
        Cell.of(None if holds_values is None else "yes" if holds_values else "no"),
        Cell.of(node["contacts_named"]),
    )


def _print_end(end: WalkEndJson, as_json: bool) -> None:
    if as_json:
        print_json(end)
        return
    line = f"nodes: {end['nodes']:,}, reachable: {end['reachable']:,}, in {end['seconds']:.1f} s"
    if end["unasked"]:
        line += f"; named and not asked: {end['unasked']:,} (see --limit)"
    if end["left_out"]:
        line += f"; left out, too many of one subnet: {end['left_out']:,}"
    print_status(line)
