"""The garbage collector during a run: a world is millions of objects that live until its end."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = 100_000, 5, 5
"""For `gc.set_threshold`. With the thresholds of CPython, which suit small programs, a quarter of the time of
a join goes to looks at objects that all still live. Cycles are rare: those of a node that has died."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the garbage collector of this process look rarely, as long as this lasts."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
