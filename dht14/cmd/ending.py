"""How a command ends: its exit code, its lines on stderr, and what it prints."""

import base64
import json
import os
import sys
from collections.abc import Callable

from dht14.errors import StartError

DONE = 0
"""Found, stored, deleted."""
NOT_DONE = 1
"""Not found, or refused."""
WRONG_USAGE = 2
NO_NODE = 3
"""No node answers, or one that is not ready."""
INTERRUPTED = 130

_ERRORS = {NOT_DONE: "refused", WRONG_USAGE: "wrong_usage", NO_NODE: "no_node"}


class Ended(Exception):
    """The command cannot go on: an exit code and a line for stderr.

    For programs the same as a word, `error`, with the facts that belong to it.
    """

    def __init__(self, code: int, line: str, error: str = "", **facts: object) -> None:
        super().__init__(line)
        self.code = code
        self.error = error or _ERRORS.get(code, "failed")
        self.facts = facts

    def as_object(self) -> dict[str, object]:
        """What JSON tells of it."""
        return {"error": self.error, "message": str(self), **self.facts}


def concluded(command: Callable[[], int], as_json: bool) -> int:
    """The exit code of a command, however it ends."""
    try:
        try:
            return command()
        finally:
            _flush_output()
    except Ended as end:
        return _told(end, as_json)
    except StartError as error:
        return _told(Ended(error.exit_code, str(error), "wrong_configuration"), as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _throw_output_away()
        return DONE


def _told(end: Ended, as_json: bool) -> int:
    say(f"dht14: {end}")
    if as_json:
        try:
            print_json(end.as_object())
        except Ended as unwritable:
            say(f"dht14: {unwritable}")
    return end.code


def say(line: str) -> None:
    """One line on stderr, where there is one."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


# the standard output


def print_json(answer: dict[str, object]) -> None:
    """One object on one line."""
    print_bytes(json.dumps(answer).encode() + b"\n")


def base64_text(raw: bytes) -> str:
    """How bytes stand in JSON."""
    return base64.b64encode(raw).decode()


def print_bytes(output: bytes) -> None:
    """All of it. Raises `Ended`."""
    if sys.stdout is None:
        raise Ended(WRONG_USAGE, "cannot write to the standard output: it is closed", "output")
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _throw_output_away()
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot write to the standard output: {error.strerror}", "output") from None


def print_value(value: bytes) -> None:
    """A value, exactly its bytes; on a terminal with a newline at its end, so that the prompt begins a line."""
    needs_newline = sys.stdout is not None and sys.stdout.isatty() and not value.endswith(b"\n")
    print_bytes(value + b"\n" if needs_newline else value)


def _flush_output() -> None:
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _throw_output_away()
        except OSError as error:
            _throw_output_away()
            say(f"dht14: cannot write to the standard output: {error.strerror}")


def _throw_output_away() -> None:
    # Whoever reads has enough. Python would complain once more when it closes the standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
