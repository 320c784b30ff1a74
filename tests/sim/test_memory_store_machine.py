"""Any offers in any order: sizes are right, limits hold, and replicas agree."""

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.record import Record
from dht14.records.store import Outcome, Verdict
from dht14.sim.memory_store import MemoryStore
from tests.sim.test_memory_store import NOW, record, room_for


class StoreMachine(RuleBasedStateMachine):
    """A store for few records of few keys, beside a dict without limits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.near = 8
        self.store = MemoryStore(0, room_for(8, 1500), lambda record: record.key < self.near)
        self.offered: dict[int, list[Record]] = {}

    @rule(
        key=st.integers(0, 12),
        size=st.integers(1, 120) | st.just(1500),
        version=st.integers(0, 5),
        ttl=st.sampled_from([0.5, 5.0, 50.0]),
        writer=st.integers(0, 3),
    )
    def offer(self, key: int, size: int, version: int, ttl: float, writer: int) -> None:
        one = Record(
            key=key,
            value=bytes(size),
            version=version,
            expires_at=self.now + ttl,
            replication=8,
            writer=writer,
        )
        before = {held: self.store.get(held, self.now) for held in range(13)}
        verdicts: list[Verdict] = []
        self.store.offer(one, self.now, verdicts.append)
        (verdict,) = verdicts
        self.offered.setdefault(key, []).append(one)
        held = self.store.get(key, self.now)
        previous = before[key]
        if verdict.outcome is Outcome.HELD:
            assert held is not None and held.rank == one.rank and held.expires_at >= one.expires_at
            assert verdict.version == version
        elif verdict.outcome is Outcome.OUTRANKED:
            rank = (
                max(one.rank for one in self.offered[key] if one is not None) if held is None else held.rank
            )
            assert rank >= one.rank and verdict.version >= one.version
            assert held == previous
        else:
            assert held == previous and verdict.version == (previous.version if previous else 0)
            is_full = self.store.size + room_for(1, size) > self.store.limit * 7 / 8
            share = self.store._shares.get(id_to_bytes(writer), 0) + room_for(1, size)
            free = self.store.limit * 7 / 8 - self.store.size - room_for(1, size)
            assert is_full or (writer and share > free * min(1, free / (self.store.limit * 7 / 16)))
        for other, earlier in before.items():
            if other != key and earlier is not None and self.store.get(other, self.now) is None:
                assert other >= self.near, "a record that the node answers for was evicted"
                assert all(
                    self.store.get(far, self.now) is None
                    for far in range(other, 13)
                    if far not in (key, other)
                ), "a nearer one was evicted before a farther one"

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.store.expire(self.now)
        assert all(record.expires_at > self.now for record in self.store._records.values())

    @rule(near=st.integers(0, 13))
    def neighbourhood_changes(self, near: int) -> None:
        self.near = near

    @invariant()
    def sound(self) -> None:
        self.store.check_invariants()
        for key in range(13):
            held = self.store.get(key, self.now)
            if held is not None:
                assert held.expires_at > self.now
                assert held in self.offered[key]


class MachineTests(SynchronousTestCase):
    def test_machine(self) -> None:
        """For any offers in any order sizes are right, limit and shares hold, and only the stated order
        evicts."""
        run_state_machine_as_test(
            StoreMachine,
            settings=settings(derandomize=True, deadline=None, max_examples=100, stateful_step_count=50),
        )

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 30)), max_size=30))
    def test_replicas_agree(self, offers: list[tuple[int, int, int]]) -> None:
        """Two stores that got the same offers in different orders hold the same."""
        one, other = (MemoryStore(own_id, 1 << 20, lambda record: True) for own_id in (0, 77))
        records = [record(key, bytes(size), version) for key, version, size in offers]
        for store, order in ((one, records), (other, records[::-1])):
            for each in order:
                store.offer(each, NOW, lambda verdict: None)
        self.assertEqual([one.get(key, NOW) for key in range(6)], [other.get(key, NOW) for key in range(6)])

    def test_invariants_are_looked_at(self) -> None:
        """The invariants detect a store that contradicts itself."""
        store = MemoryStore(0, 1 << 20, lambda record: True)
        store.offer(record(), NOW, lambda verdict: None)
        store._records[5] = evolve(store._records[5], value=b"longer")
        self.assertRaises(AssertionError, store.check_invariants)
