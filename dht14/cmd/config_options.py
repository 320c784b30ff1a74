"""`dht14 config`: all options with their purpose, what a configuration sets, and whether it is accepted."""

import argparse
import os
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import frozen

from dht14.app import config
from dht14.app.options import SECTIONS, Role
from dht14.cmd.command_error import DONE
from dht14.cmd.node_arguments import add_role_argument
from dht14.cmd.output import print_json
from dht14.cmd.parser import add_json_argument
from dht14.cmd.table import Cell, Column, print_lines, print_table

HIDDEN = "(hidden)"

_COLUMNS = (Column("option"), Column("value"), Column("from"))
_SEEDS = "addresses of nodes to join through, each under a name of your choice: HOST:PORT or ID@HOST:PORT"
_WIDTH = 100


@frozen
class ShownOption:
    """One option, with its value as text."""

    section: str
    name: str
    value: str
    source: str
    """`default`, a file or a variable of the environment."""
    default: str
    purpose: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 config`."""
    parser.description = (
        "Print every option with its purpose and default, as a configuration file. With --config or --env: "
        "print the value of each option and where it comes from; keys are hidden. With --check: tell whether "
        "a node would start with this file and environment."
    )
    parser.epilog = (
        "Exit codes: 0 done, 2 wrong usage, 78 a node would refuse the configuration; stderr has the line "
        "that the node would print."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", "-c", metavar="FILE", help="print what a file and the environment set")
    which.add_argument("--env", action="store_true", help="print what the environment alone sets")
    which.add_argument("--check", metavar="FILE", help="check a file, together with the environment")
    add_role_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the options and return the exit code. Raises `ConfigError`."""
    role = Role.NODE if args.role == "node" else Role.BOOTSTRAP
    if args.check is not None:
        unused = config.load(role, args.check, os.environ, file_option="--check").unused
        if args.json:
            print_json({"accepted": True, "file": args.check, "unused": unused})
        else:
            beside = f"; it does not read {', '.join(unused)}" if unused else ""
            print_lines([f"{args.check}: a node accepts this configuration{beside}"])
        return DONE
    shows_values = args.config is not None or args.env
    written = config.written(args.config, os.environ) if shows_values else {}
    options = list(_options(role, written))
    if args.json:
        print_json({"options": [attrs.asdict(option) for option in options]})
    elif shows_values:
        print_table(_COLUMNS, map(_row, options))
    else:
        print_lines(_file_lines(options))
    return DONE


def _options(role: Role, written: Mapping[tuple[str, str], config.OptionText]) -> Iterator[ShownOption]:
    for section, kind in SECTIONS.items():
        for name, attribute in attrs.fields_dict(kind).items():
            default, purpose = attribute.metadata["default"], attribute.metadata["purpose"]
            text, source = written.get((section, name)) or (default, "default")
            if (section, name) == ("node", "data_dir") and written and not text:
                text = f"data/{role.value}"
            yield ShownOption(section, name, _shown(attribute, text), source, default, purpose)
    for (section, name), (text, source) in written.items():
        if section not in SECTIONS:
            yield ShownOption(section, name, text, source, "", _SEEDS)


def _shown(attribute: Any, text: str) -> str:
    """Hide a secret. The name of a file that has it is none."""
    is_secret = not attribute.repr and text and not text.startswith("file:")
    return HIDDEN if is_secret else text


def _row(option: ShownOption) -> tuple[Cell, Cell, Cell]:
    return Cell.of(f"[{option.section}] {option.name}"), Cell.of(option.value), Cell.of(option.source)


def _file_lines(options: list[ShownOption]) -> Iterator[str]:
    """Write all options as a configuration file that changes nothing."""
    section = ""
    for option in options:
        if option.section != section:
            yield from [""] * bool(section) + [f"[{option.section}]"]
            section = option.section
        yield from textwrap.wrap(option.purpose, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"{option.name} = {option.default}".rstrip()
    yield from (
        "",
        "[bootstrap]",
        *textwrap.wrap(_SEEDS, _WIDTH, initial_indent="# ", subsequent_indent="# "),
    )
