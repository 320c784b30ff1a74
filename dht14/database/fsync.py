"""What a folder needs so that the names in it outlive a power cut."""

import os


def flush_folder(path: str) -> None:
    """Let the names in a folder survive a power cut. Raises `OSError`."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
