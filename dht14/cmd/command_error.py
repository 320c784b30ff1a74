"""The exit codes of `dht14`, and the error that ends a command with one of them.

A node that cannot start has exit codes of its own: see `StartError` in `dht14/errors.py`.
"""

DONE = 0
"""Found, stored, deleted; a promise kept."""
NOT_DONE = 1
"""Not found, or refused; a promise broken."""
WRONG_USAGE = 2
NO_NODE = 3
"""No node answers, or the node is not ready."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""

_ERRORS = {NOT_DONE: "refused", WRONG_USAGE: "wrong_usage", NO_NODE: "no_node"}


class CommandError(Exception):
    """Ends a command: an exit code and one line for stderr.

    Programs get the same with `--json`: the word `error` and the facts that belong to it.
    """

    def __init__(self, code: int, line: str, error: str = "", **facts: object) -> None:
        super().__init__(line)
        self.code = code
        self.error = error or _ERRORS.get(code, "failed")
        self.facts = facts

    @classmethod
    def of_file(
        cls, option: str, verb: str, path: str, error: OSError, cure: str, word: str
    ) -> "CommandError":
        """Make the error of a file that was given with `option` and with which `verb` is impossible."""
        return cls(WRONG_USAGE, f"{option}: cannot {verb} {path!r} ({error.strerror}); {cure}", word)

    def as_object(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {"error": self.error, "message": str(self), **self.facts}
