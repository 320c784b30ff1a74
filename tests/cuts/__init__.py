"""Power cuts and crashes, at every point of what a node writes.

`shim.c` is loaded into real processes that write a data directory, and logs each of their changes. `disk`
plays the log up to any point and makes what a power cut can leave on a disk there: what was flushed is there,
of all else any part. `recovery` opens that as a node does at its start, and `expected` says what must be
found: what the processes acknowledged before that point, as they wrote it into the same log.
"""
