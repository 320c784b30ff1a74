"""The largest share of a party, found without reading the shares of all parties at once."""

from typing import Any

from attrs import define, field

from dht14.database.tables import Tables

SHARES_AT_ONCE = 2_000
"""Shares that are read in one look: that takes less than a millisecond."""


@define
class LargestShare:
    """Reads the shares in parts if there are many: then a share that has become smaller is noticed only some
    looks later."""

    _mark: bytes = field(default=b"", init=False)
    """After the last tag of the last look; empty at the beginning of a pass."""
    _of_pass: int = field(default=0, init=False)
    _of_last_pass: int = field(default=0, init=False)

    def look(self, txn: Any, tables: Tables) -> int:
        """Read some shares, all of them if they are few. Return the bytes of the party that holds most."""
        greatest, self._mark = tables.greatest_share(txn, self._mark, SHARES_AT_ONCE)
        self._of_pass = max(self._of_pass, greatest)
        if self._mark:
            return max(self._of_pass, self._of_last_pass)
        self._of_last_pass, self._of_pass = self._of_pass, 0
        return self._of_last_pass
