"""Makes the names of files durable."""

import os


def fsync_folder(path: str) -> None:
    """Flush a folder, so that the names in it survive a power cut. Raises `OSError`."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
