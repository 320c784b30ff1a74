"""Runs `dht14` in this process, as a shell would."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from dht14.cmd.main import main


class Outcome(NamedTuple):
    """What a command leaves."""

    code: object
    out: bytes
    error: str


def run(*words: str) -> Outcome:
    """What `dht14 WORDS` does."""
    out, error = io.BytesIO(), io.StringIO()
    code: object
    with redirect_stdout(io.TextIOWrapper(out, write_through=True)) as text, redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        text.detach()
    return Outcome(code, out.getvalue(), error.getvalue())
