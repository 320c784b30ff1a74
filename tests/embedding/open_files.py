"""What a process has open, to compare before and after."""

import gc
import os


def open_files() -> list[str]:
    """Return a name of each descriptor; of sockets and pipes only that they are some. Twisted keeps one of
    /dev/null for itself."""
    gc.collect()
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # That of the listing itself.
        kind = name.partition(":")[0]
        found.append(kind if kind in ("socket", "pipe", "anon_inode") else name)
    return sorted(name for name in found if name != os.devnull)
