"""Standard output and stderr of a command. Either may be closed, full, or read by a program that has
ended."""

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping

from dht14.cmd.command_error import DONE, INTERRUPTED, WRONG_USAGE, CommandError
from dht14.errors import StartError


def run_command(command: Callable[[], int], as_json: bool) -> int:
    """Run a command and return its exit code, however it ends. Report a failure on stderr, and as JSON on
    demand."""
    try:
        try:
            return command()
        finally:
            _flush_output()
    except CommandError as error:
        return _report_error(error, as_json)
    except StartError as error:
        return _report_error(CommandError(error.exit_code, str(error), "wrong_configuration"), as_json)
    except KeyboardInterrupt:
        return _report_error(CommandError(INTERRUPTED, "interrupted", "interrupted"), as_json)
    except BrokenPipeError:
        _discard_output()
        return DONE


def _report_error(error: CommandError, as_json: bool) -> int:
    if error.code != INTERRUPTED:  # Who pressed Ctrl-C knows.
        print_status(f"dht14: {error}")
    if as_json:
        try:
            print_json(error.as_object())
        except CommandError as unwritable:
            print_status(f"dht14: {unwritable}")
    return error.code


def print_status(line: str) -> None:
    """Print one line on stderr, if stderr is open."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def print_json(answer: Mapping[str, object]) -> bool:
    """Print one object on one line. Return whether somebody reads on."""
    return print_bytes(json.dumps(answer).encode() + b"\n")


def base64_text(raw: bytes) -> str:
    """Encode bytes for JSON."""
    return base64.b64encode(raw).decode()


def print_bytes(output: bytes) -> bool:
    """Write all bytes to the standard output. Raises `CommandError` if that fails.

    Return whether somebody reads on: not after the reader of a pipe has ended.
    """
    if sys.stdout is None:
        raise CommandError(WRONG_USAGE, "cannot write to the standard output: it is closed", "output")
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _discard_output()
        return False
    except OSError as error:
        reason = error.strerror
        raise CommandError(WRONG_USAGE, f"cannot write to the standard output: {reason}", "output") from None
    return True


def print_value(value: bytes) -> None:
    """Write exactly the bytes of a value; on a terminal also a newline, so that the prompt begins a line."""
    needs_newline = sys.stdout is not None and sys.stdout.isatty() and not value.endswith(b"\n")
    print_bytes(value + b"\n" if needs_newline else value)


def _flush_output() -> None:
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
        except OSError as error:
            _discard_output()
            print_status(f"dht14: cannot write to the standard output: {error.strerror}")


def _discard_output() -> None:
    # The reader has enough. Python would report an error once more when it closes the standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
