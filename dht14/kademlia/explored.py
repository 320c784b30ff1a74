"""Which parts of the id space are known completely, because a lookup has met everybody there.

In such a part a put needs no walk: the table knows already who is nearest to the key. What is remembered
here is only good for saving time: a node may have come since without a word to us. The holders that are
asked then know better, and say so (`wire.messages.Stored.nearer`).
"""

from attrs import define, field

from dht14.kademlia.keyspace import ID_BITS, ID_SPACE
from dht14.kademlia.parameters import EXPLORED_FOR

BLOCKS_REMEMBERED = 4096


def _block(node_id: int, bits: int) -> int:
    """All ids that share these leading bits, as one number: a 1, and the bits behind it."""
    return (ID_SPACE | node_id) >> (ID_BITS - bits)


@define
class Explored:
    """Blocks of ids with a common prefix, and when each was last known completely."""

    _blocks: dict[int, float] = field(factory=dict, init=False)

    def met_everybody(self, target: int, reach: int, now: float) -> None:
        """Everybody who is no farther from `target` than `reach` is known now."""
        # 2**n ids with a common prefix are the most that lie within that distance as a whole.
        n = (reach + 1).bit_length() - 1
        block = _block(target, ID_BITS - n)
        while True:
            self._remember(block, now)
            sibling = self._blocks.get(block ^ 1)
            if sibling is None:
                return
            # Both halves of a larger block: it is known as well as the one that was seen earlier.
            block, now = block >> 1, min(now, sibling)

    def _remember(self, block: int, now: float) -> None:
        now = max(now, self._blocks.pop(block, now))
        if len(self._blocks) >= BLOCKS_REMEMBERED:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[block] = now

    def met_newcomer(self, node_id: int) -> None:
        """Somebody unknown turned up: where this one is, there may be more."""
        block = ID_SPACE | node_id
        while block and self._blocks:
            self._blocks.pop(block, None)
            block >>= 1

    def covers(self, target: int, bits: int, now: float) -> bool:
        """Whether everybody is known who shares `bits` leading bits with `target`."""
        block = _block(target, bits)
        while block:
            if now - self._blocks.get(block, float("-inf")) < EXPLORED_FOR:
                return True
            block >>= 1
        return False
