"""Ctrl-C while no command runs: before it, while modules are imported, and after it.

Then nothing is under way that must end in order, and an exception would do harm: Python prints a traceback
for it, or makes another error of it.
"""

import os
import signal

from dht14.cmd.command_error import INTERRUPTED

MESSAGE = b'{"error": "interrupted", "message": "interrupted"}\n'
"""What `--json` prints then."""


def end_at_once(as_json: bool = False) -> None:
    """Let Ctrl-C end the process, unless it is ignored. With `as_json` print `MESSAGE` then."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end, _end_with_object):
        signal.signal(signal.SIGINT, _end_with_object if as_json else _end)


def raise_exception() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, after `end_at_once`."""
    if signal.getsignal(signal.SIGINT) in (_end, _end_with_object):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)


def _end_with_object(_number: int, _frame: object) -> None:
    try:
        os.write(1, MESSAGE)
    finally:
        os._exit(INTERRUPTED)
