from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import ID_SPACE
from dht14.kademlia.sorted_ids import SortedIds

ids = st.integers(0, ID_SPACE - 1)


def made_of(some: "set[int]") -> SortedIds:
    made = SortedIds()
    for node_id in some:
        made.add(node_id)
    return made


class SortedIdsTests(SynchronousTestCase):
    def test_order(self) -> None:
        """Ids come and go, and stay in order."""
        some = made_of({5, 1, 9})
        some.remove(5)
        self.assertEqual((some.all(), len(some)), ([1, 9], 2))

    def test_few(self) -> None:
        """Where there are no more than are wanted, all are in the block."""
        self.assertEqual(made_of({1, ID_SPACE - 1}).block_around(0, 2), [1, ID_SPACE - 1])
        self.assertEqual(SortedIds().block_around(0, 2), [])

    @settings(derandomize=True)
    @given(st.sets(ids, max_size=60), ids, st.integers(1, 20))
    def test_nearest(self, some: "set[int]", target: int, count: int) -> None:
        """The block has the nearest ids."""
        nearest = sorted(some, key=target.__xor__)[:count]
        self.assertLessEqual(set(nearest), set(made_of(some).block_around(target, count)))
