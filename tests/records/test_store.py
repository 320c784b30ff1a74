"""The rules by which one record replaces another."""

from itertools import permutations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Kind, Record
from dht14.records.store import Outcome, Verdict, conflicting_record, judge, merged
from dht14.records.version_floors import NO_FLOOR
from dht14.sim.memory_store import MemoryStore
from tests.owners import Owner

NOW = 1_700_000_000.0
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)


def record(key: int = 5, value: bytes = b"v", version: int = 1, ttl: float = 60.0) -> Record:
    return Record(key=key, value=value, version=version, expires_at=NOW + ttl, replication=8)


OWNER = Owner(1)
OFFERS = [
    evolve(one, key=CONTENT_KEY)
    for one in (
        *(record(value=value, version=version) for value in (b"x", b"y") for version in (1, 5)),
        *(
            OWNER.record(payload, seq, NOW + 60)
            for payload, seq in ((b"a", 1), (b"a", 2), (b"b", 2), (b"", 3))
        ),
        OWNER.record(b"a", 2, NOW + 90),
        OWNER.record(b"b", 2, NOW + 90, copies=9),
        OWNER.record(b"c", 2, NOW + 30, cas=1),
        *(record(value=CONTENT, version=version, ttl=ttl) for version in (0, 9) for ttl in (60.0, 70.0)),
    )
]
"""Records of all kinds under one key. Nobody can sign for the key of content: only the order is tested
here."""


def held_after(offers: list[Record]) -> Record | None:
    """The record that a holder has after these offers, one after the other."""
    held: Record | None = None
    for offered in offers:
        if judge(offered, held, NO_FLOOR, NOW) is None:
            held = merged(offered, held, NOW)
    return held


class ConflictingRecordTests(SynchronousTestCase):
    def test_new(self) -> None:
        """`conflicting_record` finds the conflict of a new record; `offer`, which copies use, knows only
        the order."""
        store, verdicts = MemoryStore(0, 1 << 20, lambda record: True), list[Verdict]()
        held, new = OWNER.record(b"held", 7, NOW + 60), OWNER.record(b"new", 9, NOW + 60, cas=6)
        self.assertIsNone(conflicting_record(store, new, NOW))
        store.offer(held, NOW, verdicts.append)
        self.assertEqual(conflicting_record(store, new, NOW), held)
        self.assertIsNone(conflicting_record(store, new, NOW + 60), "it has expired")
        self.assertIsNone(conflicting_record(store, record(OWNER.key), NOW))
        store.offer(new, NOW, verdicts.append)
        self.assertEqual([verdict.outcome for verdict in verdicts], [Outcome.HELD, Outcome.HELD])


class MergeTests(SynchronousTestCase):
    """The record on which replicas converge does not depend on the order or the repetition of offers."""

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from(range(len(OFFERS))), min_size=1, max_size=4), st.data())
    def test_all_kinds(self, chosen: list[int], data: st.DataObject) -> None:
        """Offers of any kinds end with the same record in any order, repeated, and merged in groups."""
        ends = {_end(held_after([OFFERS[n] for n in order])) for order in permutations(chosen)}
        again = data.draw(st.lists(st.sampled_from(chosen), max_size=4))
        ends.add(_end(held_after([OFFERS[n] for n in [*chosen, *again]])))
        split = data.draw(st.integers(0, len(chosen)))
        halves = [held_after([OFFERS[n] for n in half]) for half in (chosen[:split], chosen[split:])]
        ends.add(_end(held_after([half for half in halves if half is not None])))
        self.assertEqual(len(ends), 1)

    def test_who_wins(self) -> None:
        """Content outranks the records of an owner, of which the last wins, even a deletion; these outrank
        open ones."""
        ways = [held_after(OFFERS), held_after(OFFERS[:11]), held_after(OFFERS[:4])]
        self.assertEqual(
            [(one.kind, one.is_tombstone) for one in ways if one],
            [(Kind.CONTENT, False), (Kind.OWNER, True), (Kind.OPEN, False)],
        )


def _end(record: Record | None) -> tuple[object, ...] | None:
    """The parts of a record that readers and other holders see."""
    return None if record is None else (record.rank, record.expires_at, record.replication)
