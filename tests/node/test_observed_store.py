from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.observed_store import ObservedStore
from dht14.records.record import Record
from dht14.records.store import BEGINNING, Outcome, Refusal, Verdict
from dht14.sim.memory_store import RECORD_OVERHEAD, MemoryStore


class ObservedStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner = MemoryStore(1, 100_000, lambda record: True)
        self.store = ObservedStore(self.inner)
        self.events: list[object] = []
        self.store.observers.append(self.events.append)

    def offer(self, version: int, expires_at: float = 100.0) -> None:
        record = Record(key=7, value=b"value", version=version, expires_at=expires_at, replication=8)

        def decided(verdict: Verdict) -> None:
            self.events.append(verdict.outcome)

        self.store.offer(record, 0.0, decided)

    def test_held(self) -> None:
        """Who offered a record hears of it first; then the observers do, and can see it."""
        self.store.observers.append(lambda key: self.events.append(self.store.get(key, 0.0) is not None))
        self.offer(2)
        self.assertEqual(self.events, [Outcome.HELD, 7, True])

    def test_not_held(self) -> None:
        """A record that was not taken is not reported."""
        self.offer(2)
        self.events.clear()
        self.offer(1)
        self.offer(3, expires_at=0.0)
        self.assertEqual(self.events, [Outcome.OUTRANKED, Outcome.REFUSED])

    def test_from_the_future(self) -> None:
        """What stands here with a version that no honest node can have by now gives way, and so does what is
        remembered of it when it has expired."""
        latest = 5
        self.store = ObservedStore(self.inner, lambda: latest)
        self.offer(9, expires_at=50.0)
        self.offer(4)
        self.assertEqual(self.events, [Outcome.HELD, Outcome.HELD])
        self.offer(3)
        self.assertEqual(self.events[-1], Outcome.OUTRANKED)
        self.offer(9, expires_at=50.0)
        self.store.expire(60.0)
        self.assertEqual(self.store.floor(7, 60.0).version, 9)
        self.offer(5)
        self.assertEqual(self.events[-1], Outcome.HELD)

    def test_no_room(self) -> None:
        """What stands here counts no more once there was no room for a greater record, until that expires,
        or stands here."""
        self.inner = MemoryStore(1, RECORD_OVERHEAD + 100, lambda record: True)
        self.store = ObservedStore(self.inner)
        self.offer(2)
        held = self.store.get(7, 0.0)
        assert held is not None
        verdicts: list[Verdict] = []
        greater = evolve(held, value=bytes(100_000), version=3, expires_at=50.0)
        self.store.offer(greater, 0.0, verdicts.append)
        self.assertIs(verdicts[0].refusal, Refusal.NO_ROOM)
        self.assertTrue(self.store.is_replacing(held))
        self.assertFalse(self.store.is_replacing(evolve(held, version=4)))
        self.store.expire(60.0)
        self.assertFalse(self.store.is_replacing(held))

    def test_same_store(self) -> None:
        """All else is what the other store says."""
        self.offer(2)
        self.assertEqual((len(self.store), self.store.space()), (1, self.inner.space()))
        self.assertEqual(self.store.page(BEGINNING, 0.0), self.inner.page(BEGINNING, 0.0))
        self.store.expire(200.0)
        self.assertEqual(len(self.inner), 0)
        self.assertEqual(self.store.floor(7, 200.0), self.inner.floor(7, 200.0))
        self.store.check_invariants()
