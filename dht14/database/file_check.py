"""Checks whether the file of a database is damaged: `python -m dht14.database.file_check FILE`, in a child
process.

LMDB trusts its file: a damaged page can crash the process that reads it, or make it overwrite sound pages. So
the whole file is read as bytes before LMDB opens it. That takes a second for each 250 MB and blocks the
interpreter, so it runs in a process of its own.
"""

import sys

from lmdb.verify import VerifyError, verify

SOUND, DAMAGED, UNREADABLE = 0, 3, 4
"""Exit codes. Any other says nothing about the file: the check itself was killed."""


def verify_file(path: str) -> int:
    """Return the exit code for this file."""
    try:
        return DAMAGED if verify(path, subdir=False) else SOUND
    except (OSError, MemoryError):
        return UNREADABLE
    except (VerifyError, ValueError, LookupError, OverflowError, RecursionError):
        # An error of the verifier means damage, too.
        return DAMAGED


if __name__ == "__main__":
    sys.exit(verify_file(sys.argv[1]))
