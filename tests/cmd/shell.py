"""Runs `dht14` in this process, as a shell would."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from dht14.cmd.main import main


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    code: object
    out: bytes
    error: str


def run(*words: str) -> Outcome:
    """Run `dht14 WORDS`."""
    out, error = io.BytesIO(), io.StringIO()
    code: object
    with redirect_stdout(io.TextIOWrapper(out, write_through=True)) as text, redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        text.detach()
    return Outcome(code, out.getvalue(), error.getvalue())
