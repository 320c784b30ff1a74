"""The ids of all contacts in order, and those near a target by bisection."""

from bisect import bisect_left, insort

from attrs import define, field

from dht14.kademlia.keyspace import ID_BITS


@define
class SortedIds:
    """Node ids, each once. A search costs microseconds, whatever their number."""

    _ids: list[int] = field(factory=list, init=False)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, node_id: int) -> None:
        """Add an id that is not there."""
        insort(self._ids, node_id)

    def remove(self, node_id: int) -> None:
        """Remove an id that is there."""
        del self._ids[bisect_left(self._ids, node_id)]

    def block_around(self, target: int, count: int) -> list[int]:
        """Return the ids that share the longest prefix of `target` that at least `count` ids share.

        Ids that share more bits with the target are nearer than all that share fewer, so the block contains
        the `count` nearest.
        """
        ids, low, high = self._ids, 0, len(self._ids)
        shift = ID_BITS
        while high - low > count:
            shift -= 1
            prefix = target >> shift
            middle = bisect_left(ids, (prefix | 1) << shift, low, high)
            inner_low, inner_high = (middle, high) if prefix & 1 else (low, middle)
            if inner_high - inner_low < count:
                break
            low, high = inner_low, inner_high
        return ids[low:high]

    def all(self) -> list[int]:
        """Return all ids, ascending."""
        return list(self._ids)
