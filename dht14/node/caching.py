"""How long a cached copy lives (paper, section 2.3)."""

CACHE_SECONDS = 3_600.0
"""The longest that one lives: with the nearest node that does not hold the record anyway."""


def cache_lifetime(remaining: float, nearer: int, holders: int) -> float:
    """Seconds for which a node keeps a copy that it need not keep.

    `nearer` nodes are nearer to the key, `holders` of which have it anyway. It is halved for each of the
    others: so a value that is read much is found a little earlier, and does not fill the network.
    """
    return min(remaining, CACHE_SECONDS) / 2.0 ** max(nearer - holders, 0)
