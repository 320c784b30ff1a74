"""Parses the command line of one command: argparse, with errors that name the cure."""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from dht14.client.address import parse_address
from dht14.cmd.command_error import WRONG_USAGE, CommandError
from dht14.cmd.output import print_bytes

SIMILARITY = 0.6
"""Least similarity of a mistyped word to the one that is suggested, from 0 to 1."""


class Parser(argparse.ArgumentParser):
    """The arguments of one command. Reports wrong usage as `CommandError`.

    Options cannot be abbreviated: otherwise a new option could break scripts.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse `args` as argparse does. Raises `CommandError`."""
        words: Sequence[str] = args or ()
        self._refuse_options(words)
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            option = next((word for word in unknown if word.startswith("-")), None)
            self.error(
                f"unexpected argument: {unknown[0]}" if option is None else self._unknown_option(option)
            )
        return found

    def error(self, message: str) -> NoReturn:
        """Raise `CommandError`."""
        if message.endswith("expected one argument"):
            message += "; if it begins with -, write OPTION=VALUE"
        raise CommandError(WRONG_USAGE, message)

    def _unknown_option(self, word: str) -> str:
        option = word.partition("=")[0]
        if option in self._option_string_actions:
            return f"{option} follows --, after which nothing is an option; write it before"
        return (
            f"unknown option: {option}{suggestion(option, self._option_string_actions)}{self._dashes_hint()}"
        )

    def _refuse_options(self, words: Sequence[str]) -> None:
        """Refuse unknown options before argparse sees them.

        For `--sgn F` argparse would report that `--sign` is missing. It would take `-hello` for `-h` and
        print help.
        """
        before = ""
        for word in words:
            if word == "--":
                return
            if re.fullmatch(r"-[^-].+", word, re.DOTALL) and not self._takes_value(word):
                self.error(f"{word} is not an option{self._dashes_hint()}")
            if re.fullmatch(r"--[^ ]+", word) and not self._is_known(word) and not self._awaits_word(before):
                self.error(self._unknown_option(word))
            before = word

    def _is_known(self, word: str) -> bool:
        return word.partition("=")[0] in self._option_string_actions

    def _awaits_word(self, word: str) -> bool:
        option = self._option_string_actions.get(word)
        return option is not None and option.nargs != 0

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            nearest = suggestion(str(value), names) or f" (choose from {', '.join(names)})"
            raise argparse.ArgumentError(action, f"there is no {value!r}{nearest}")

    def _takes_value(self, word: str) -> bool:
        short = self._option_string_actions.get(word[:2])
        return re.fullmatch(r"-[0-9.]+", word) is not None or (short is not None and short.nargs != 0)

    def _dashes_hint(self) -> str:
        takes_words = any(not action.option_strings for action in self._actions)
        return "; a word that begins with - goes after --, at the end" if takes_words else ""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            print_bytes(message.encode("utf-8", "surrogateescape"))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Ask whether the most similar known word is meant; empty if none is similar."""
    names = list(known)
    nearest = [name for name in names if len(word) > 2 and name.startswith(word)]
    nearest += difflib.get_close_matches(word, names, n=1, cutoff=SIMILARITY)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def whole_number(limit: int, least: int = 0) -> Callable[[str], int]:
    """Make a parser of whole numbers within bounds, of at most 19 digits."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= limit:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {limit}")
        return int(text)

    return parse


def seconds(limit: float) -> Callable[[str], float]:
    """Make a parser of durations in seconds."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) > limit:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {limit:g}")
        return float(text)

    return parse


def host_port(text: str) -> tuple[str, int]:
    """Parse HOST:PORT or [IPV6]:PORT."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def typed_bytes(argument: str) -> bytes:
    """Return the bytes that were typed, UTF-8 or not."""
    return argument.encode("utf-8", "surrogateescape")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that prints something."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object for programs, also after an error"
    )
