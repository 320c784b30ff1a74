"""The command line of one command: argparse, with errors that name the cure."""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from dht14.cmd.ending import WRONG_USAGE, Ended, print_bytes

NEAR = 0.6
"""How alike a mistyped word must be to the one that may be meant, from 0 to 1."""


class Parser(argparse.ArgumentParser):
    """The arguments of one command.

    Options cannot be abbreviated: else a new one would break scripts. What is wrong is an `Ended`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; raises `Ended`."""
        words: Sequence[str] = args or ()
        self._refuse_options(words)
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            option = next((word for word in unknown if word.startswith("-")), None)
            self.error(f"unexpected argument: {unknown[0]}" if option is None else self._unknown(option))
        return found

    def error(self, message: str) -> NoReturn:
        """Raise `Ended`."""
        if message.endswith("expected one argument"):
            message += "; one that begins with - is written OPTION=VALUE"
        raise Ended(WRONG_USAGE, message)

    def _unknown(self, word: str) -> str:
        option = word.partition("=")[0]
        if option in self._option_string_actions:
            return f"{option} stands behind --, where nothing is an option; write it before"
        return f"unknown option: {option}{meant(option, self._option_string_actions)}{self._behind_dashes()}"

    def _refuse_options(self, words: Sequence[str]) -> None:
        """Tell of an option that does not exist before anything else: of `--sgn F` argparse would say that `--sign` is
        missing. And it takes `-hello` for `-h` with more behind it, and would print the help."""
        before = ""
        for word in words:
            if word == "--":
                return
            if re.fullmatch(r"-[^-].+", word, re.DOTALL) and not self._is_meant(word):
                self.error(f"{word} is no option{self._behind_dashes()}")
            if re.fullmatch(r"--[^ ]+", word) and not self._is_known(word) and not self._awaits_word(before):
                self.error(self._unknown(word))
            before = word

    def _is_known(self, word: str) -> bool:
        return word.partition("=")[0] in self._option_string_actions

    def _awaits_word(self, word: str) -> bool:
        option = self._option_string_actions.get(word)
        return option is not None and option.nargs != 0

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            nearest = meant(str(value), names) or f" (choose from {', '.join(names)})"
            raise argparse.ArgumentError(action, f"there is no {value!r}{nearest}")

    def _is_meant(self, word: str) -> bool:
        short = self._option_string_actions.get(word[:2])
        return re.fullmatch(r"-[0-9.]+", word) is not None or (short is not None and short.nargs != 0)

    def _behind_dashes(self) -> str:
        takes_words = any(not action.option_strings for action in self._actions)
        return "; a word that begins with - goes behind --, after all options" if takes_words else ""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            print_bytes(message.encode("utf-8", "surrogateescape"))


def meant(word: str, known: Iterable[str]) -> str:
    """A question for the nearest known word, where one is near."""
    names = list(known)
    nearest = [name for name in names if len(word) > 2 and name.startswith(word)]
    nearest += difflib.get_close_matches(word, names, n=1, cutoff=NEAR)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def number(most: int, least: int = 0) -> Callable[[str], int]:
    """A parser of whole numbers within bounds, of 19 digits at most."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return parse


def seconds(most: float) -> Callable[[str], float]:
    """A parser of durations."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) > most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {most:g}")
        return float(text)

    return parse


def host_port(text: str) -> tuple[str, int]:
    """A parser of addresses."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT or [IPV6]:PORT")
    return (host[1:-1] if bracketed else host), number(65_535, least=1)(port)


def typed_bytes(argument: str) -> bytes:
    """The bytes that were typed, UTF-8 or not."""
    return argument.encode("utf-8", "surrogateescape")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """That of every command that prints something."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, for programs; of an error too"
    )
