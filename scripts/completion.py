#!/usr/bin/env python3
"""Writes the completion of `dht14` for bash and zsh into a folder: make completion.

It is made of the parsers of the commands, so it knows each command and option that this version has.
docs/completion is in the repository, because a wheel is built where the program is not installed.
"""

import argparse
import sys
from pathlib import Path

import shtab

from dht14.cmd.main import COMMANDS

FILES = {"bash": "dht14", "zsh": "_dht14"}
"""The names under which the shells look for them."""

_PATHS = {"FILE": shtab.FILE, "F": shtab.FILE, "KEYFILE": shtab.FILE, "DIR": shtab.DIRECTORY}
"""What is completed for a word, by its name in the help."""


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with all commands."""
    parser = argparse.ArgumentParser(prog="dht14")
    commands = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        sub_parser = commands.add_parser(name, help=command.purpose)
        add_arguments, _ = command.load()
        add_arguments(sub_parser)
        sub_parser.description = command.purpose  # The long one does not fit beside the name.
        for action in sub_parser._actions:
            if isinstance(action.metavar, str) and action.metavar in _PATHS:
                action.complete = _PATHS[action.metavar]  # type: ignore[attr-defined]
    return parser


def main(folder: str) -> None:
    """Write the files."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    parser = whole_parser()
    for shell, name in FILES.items():
        (target / name).write_text(shtab.complete(parser, shell))
        print(target / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
