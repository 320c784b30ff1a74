"""Lists that a node sends in pages."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dht14.cmd.admin_client import AdminClient
from dht14.cmd.command_error import DONE
from dht14.cmd.output import print_json
from dht14.cmd.parser import whole_number
from dht14.cmd.table import Cell, Column, print_table

PAGE = 1_000
"""Items that are asked for at once."""


def add_limit_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option --limit."""
    parser.add_argument("--limit", metavar="N", type=whole_number(10**9, 1), help="list at most N")


def pages_of(
    client: AdminClient, path: str, shape: type[Any], name: str, limit: int | None
) -> Iterator[list[Any]]:
    """Yield the pages of a list, at most `limit` items in all. `shape`: of the answers; `name`: of the field
    with the items."""
    left = limit
    cursor: str | None = ""
    while cursor is not None and left != 0:
        wanted = PAGE if left is None else min(PAGE, left)
        answer = client.get(path, shape, **({"after": cursor} if cursor else {}), limit=wanted)
        # A page can have some items more than were asked for.
        page = answer[name][:left]
        yield page
        cursor = answer["next"]
        left = left - len(page) if left is not None else None


def print_pages(
    pages: Iterator[list[Any]],
    name: str,
    columns: Sequence[Column],
    row: Callable[[Any], Sequence[Cell]],
    *,
    as_json: bool,
) -> int:
    """Print the items of all pages, a row each, or one JSON document, and return the exit code."""
    if as_json:
        print_json({name: [item for page in pages for item in page]})
        return DONE
    for number, page in enumerate(pages):
        if not print_table(columns, map(row, page), has_head=number == 0):
            break
    return DONE
