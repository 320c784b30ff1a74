#!/usr/bin/env python3
"""Writes the man page of `dht14` into a folder: make man.

It is made of the parsers of the commands. docs/dht14.1 is in the repository, because a wheel is built where
the modules that the parsers need are not installed; a test compares it with the parsers.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from dht14 import __version__
from dht14.cmd import main as main_module
from dht14.cmd.main import COMMANDS, Command
from dht14.cmd.parser import Parser

NAME = "dht14.1"

_HELP = "-h"


def man_page() -> str:
    """Return the page, in the language of man(7)."""
    lines = [
        r".\" Made by scripts/man_page.py of the parsers of the commands. Do not edit.",
        f'.TH DHT14 1 "" "DHT-14 {__version__}" "DHT-14"',
        ".SH NAME",
        r"dht14 \- client, maintenance tool and simulator of the distributed hash table DHT\-14",
        ".SH SYNOPSIS",
        r".B dht14",
        r".I COMMAND",
        r"[\fIoptions\fR]",
        ".SH DESCRIPTION",
        *_text(" ".join(main_module.DESCRIPTION.split())),
        ".PP",
        *_text("dht14 help COMMAND shows the options of a command."),
        ".SH COMMANDS",
    ]
    for name, command in COMMANDS.items():
        lines += _command(name, command)
    lines += [".SH EXIT STATUS", *_exit_codes()]
    lines += [".SH EXAMPLES", ".nf", *(_literal(example) for example in _examples()), ".fi"]
    lines += [".SH SEE ALSO", r".BR twistd (1)", ".PP", *_text("twistd dht14 --help describes a node.")]
    return "\n".join(lines) + "\n"


def parser_of(name: str, command: Command) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    parser = Parser(prog=f"dht14 {name}", description=f"{command.purpose[0].upper()}{command.purpose[1:]}.")
    add_arguments, _ = command.load()
    add_arguments(parser)
    return parser


def _command(name: str, command: Command) -> Iterator[str]:
    parser = parser_of(name, command)
    shown = [action for action in parser._actions if _HELP not in action.option_strings]
    options = [action for action in shown if action.option_strings]
    words = [action for action in shown if not action.option_strings]
    usage = [r"[\fIoptions\fR]"] if options else []
    usage += [rf"\fI{_escaped(_word(action))}\fR" for action in words if action.nargs != "?"]
    usage += [rf"[\fI{_escaped(_word(action))}\fR]" for action in words if action.nargs == "?"]
    yield f".SS {_escaped(name)}"
    yield " ".join([rf"\fBdht14 {_escaped(name)}\fR", *usage])
    yield ".PP"
    yield from _paragraphs(parser.description)
    for action in [*words, *options]:
        yield ".TP"
        yield _head(action)
        yield from _text(_help(parser, action))
    if parser.epilog:
        yield ".PP"
        yield from _paragraphs(parser.epilog)


def _head(action: argparse.Action) -> str:
    if not action.option_strings:
        return rf"\fI{_escaped(_word(action))}\fR"
    names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in action.option_strings)
    return names if action.nargs == 0 else rf"{names} \fI{_escaped(_word(action))}\fR"


def _word(action: argparse.Action) -> str:
    """Return what stands for the value of an argument."""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _exit_codes() -> Iterator[str]:
    for code, meaning in re.findall(r"^  (\d+) +(.+)$", main_module.EPILOG, re.MULTILINE):
        yield from (".TP", rf"\fB{code}\fR", *_text(meaning))


def _examples() -> list[str]:
    return re.findall(r"^  (dht14 .+)$", main_module.EPILOG, re.MULTILINE)


def _paragraphs(text: str | None) -> Iterator[str]:
    for number, paragraph in enumerate((text or "").strip().split("\n\n")):
        if number:
            yield ".PP"
        yield from _text(" ".join(paragraph.split()))


def _text(text: str) -> Iterator[str]:
    """Return a paragraph, each sentence on its own line, as groff wants it."""
    for sentence in re.split(r"(?<=[.:]) (?=[A-Z])", text):
        if sentence:
            yield _literal(sentence)


def _literal(line: str) -> str:
    escaped = _escaped(line)
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _escaped(text: str) -> str:
    return (
        text.replace("\\", r"\e")
        .replace("-", r"\-")
        .replace("'", r"\(aq")
        .replace("`", r"\`")
        .replace("~", r"\(ti")
    )


def main(folder: str) -> None:
    """Write the page."""
    target = Path(folder) / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(man_page(), encoding="ascii", errors="strict")
    print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
