"""Rows of facts: an aligned table on a terminal, lines with tabs for programs that read a pipe."""

import sys
from collections.abc import Iterable, Sequence

from attrs import frozen

from dht14.cmd.output import print_bytes
from dht14.cmd.progress import duration

SHOWN_DIGITS = 16
"""Of a node id on a terminal. In a pipe and in JSON it is whole."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@frozen
class Cell:
    """One fact, as a person reads it and as a program does."""

    shown: str
    plain: str

    @classmethod
    def of(cls, fact: object) -> "Cell":
        """Show a fact to both in the same way; None as a dash."""
        text = "-" if fact is None else str(fact)
        return cls(text, text)


def id_cell(node_id: str) -> Cell:
    """Show the beginning of a node id to people."""
    return Cell(node_id[:SHOWN_DIGITS], node_id)


def ago(seconds: float | None) -> Cell:
    """Show a moment of the past; programs get seconds."""
    return Cell.of(None) if seconds is None else Cell(f"{duration(seconds)} ago", f"{seconds:.1f}")


def until(seconds: float | None) -> Cell:
    """Show a time that is left; programs get seconds."""
    return Cell.of(None) if seconds is None else Cell(duration(seconds), f"{seconds:.1f}")


@frozen
class Column:
    """A column of a table."""

    title: str
    width: int = 0
    """Least number of characters."""
    right: bool = False
    """Whether its cells are aligned at the right: numbers."""


def is_terminal() -> bool:
    """Whether a person reads the standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], has_head: bool = True) -> bool:
    """Print rows: with a head and aligned on a terminal, else one line each with tabs between the facts.

    Return whether somebody reads on.
    """
    if not is_terminal():
        return print_lines("\t".join(_printable(cell.plain) for cell in row) for row in rows)
    table = list(rows)
    widths = [
        max([column.width, len(column.title), *(len(_printable(row[n].shown)) for row in table)])
        for n, column in enumerate(columns)
    ]
    head = [column.title.upper() for column in columns]
    lines = ([head] if has_head else []) + [[_printable(cell.shown) for cell in row] for row in table]
    return print_lines(_aligned(columns, widths, line) for line in lines)


def _aligned(columns: Sequence[Column], widths: Sequence[int], texts: Sequence[str]) -> str:
    cells = [
        text.rjust(width) if column.right else text.ljust(width)
        for column, width, text in zip(columns, widths, texts, strict=True)
    ]
    return "  ".join(cells).rstrip()


def print_lines(lines: Iterable[str]) -> bool:
    """Print lines at once. Return whether somebody reads on."""
    return print_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _printable(text: str) -> str:
    # A host name comes from a configuration, the rest from other nodes: nothing may steer the terminal.
    return text if text.isprintable() else ascii(text)


def byte_size(count: int) -> str:
    """Format a number of bytes in the unit that fits."""
    size, step = float(count), 0
    while size >= 1024 and step < len(_UNITS) - 1:
        size, step = size / 1024, step + 1
    return f"{size:.1f} {_UNITS[step]}" if step and size < 100 else f"{size:.0f} {_UNITS[step]}"


def milliseconds(seconds: float | None) -> str:
    """Format a short time in milliseconds, without the unit; a dash for none."""
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
