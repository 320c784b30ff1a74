"""Whether the file of a database is whole: `python -m dht14.database.file_check FILE`, run in a child process.

LMDB trusts its file: a damaged page can crash the process that reads it, or make it write over what is
whole. So the file is walked as bytes, all of it, before LMDB opens it; and in a process of its own, because
that takes a second for each 250 MB, all the while holding the interpreter.
"""

import sys

from lmdb.verify import VerifyError, verify

SOUND, DAMAGED, UNREADABLE = 0, 3, 4
"""Exit codes. Any other tells nothing of the file: the check itself was ended."""


def check(path: str) -> int:
    """The exit code for this file."""
    try:
        return DAMAGED if verify(path, subdir=False) else SOUND
    except (OSError, MemoryError):
        return UNREADABLE
    except (VerifyError, ValueError, LookupError, OverflowError, RecursionError):
        # What stumbles over a file has found damage in it.
        return DAMAGED


if __name__ == "__main__":
    sys.exit(check(sys.argv[1]))
