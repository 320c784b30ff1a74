import random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.records.kept import (
    CLOCK_SLACK,
    MAX_RETRY,
    MIN_RETRY,
    KeptEntry,
    KeptState,
    RenewalFailure,
    explained,
    phase_of,
    renewal_time,
)
from dht14.records.record import Record

NOW = 1_700_000_000.0
TTL = 1_000


def entry(ttl: int = TTL, remaining: float = TTL, phase: float = 0.3) -> KeptEntry:
    record = Record(key=1 << 250, value=b"value", version=7, expires_at=NOW + remaining, replication=8)
    return KeptEntry.of(record, ttl, 8, NOW, phase)


class ScheduleTests(SynchronousTestCase):
    def test_in_time(self) -> None:
        """Whatever the phase, a value is renewed when 0.4 to 0.6 of its life are over."""
        rng = random.Random(14)
        for _ in range(1_000):
            written, ttl = NOW + rng.uniform(0, 1e6), rng.choice((1, 60, 600, 86_400))
            due = renewal_time(written, ttl, rng.random()) - written
            self.assertTrue(0.399 * ttl <= due <= 0.601 * ttl, due / ttl)

    def test_together(self) -> None:
        """Values of one region that are written at about the same time are renewed at the same moment; those
        of other regions, or of another node, at others."""
        near, own = random.Random(1).getrandbits(247), random.Random(2).getrandbits(256)
        phases = {phase_of(key, own) for key in (near, near + 1, near ^ (1 << 246))}
        self.assertEqual(len(phases), 1)
        moments = {round(renewal_time(NOW + late, TTL, *phases), 3) for late in (0, 10, 20)}
        self.assertLessEqual(len(moments), 2)
        regions = {phase_of(region << 248, own) for region in range(256)}
        self.assertEqual(len(regions), 256)
        self.assertNotEqual(phase_of(near, own), phase_of(near, own ^ 1))

    def test_found_late(self) -> None:
        """A value that has little time left is due at once."""
        self.assertEqual(entry(remaining=TTL / 10).due_at, NOW)
        self.assertGreater(entry(remaining=TTL).due_at, NOW)

    def test_found(self) -> None:
        """A value that was found is due at once, whatever its holder says of its end."""
        for remaining in (1.0, TTL, 100.0 * TTL):
            record = Record(key=1, value=b"v", version=1, expires_at=NOW + remaining, replication=8)
            found = KeptEntry.of(record, TTL, 8, NOW, 0.5, was_found=True)
            self.assertEqual(found.due_at, NOW)
            self.assertLessEqual(found.expires_at, NOW + TTL)

    def test_urgency(self) -> None:
        """What is late by more of its life is more urgent; nothing is due before its time."""
        long, short = entry(ttl=86_400, remaining=86_400), entry(ttl=60, remaining=60)
        self.assertLess(short.summary(b"").urgency(NOW), 0)
        later = short.due_at + 30
        waiting = evolve(long, due_at=later - 600, try_at=later - 600)
        self.assertGreater(short.summary(b"").urgency(later), waiting.summary(b"").urgency(later))
        self.assertGreater(waiting.summary(b"").urgency(later), 0)
        self.assertAlmostEqual(waiting.summary(b"").overdue(later), 600)

    def test_wrong_clock(self) -> None:
        """An entry that was changed in the future is due at once: the clock was set back meanwhile."""
        summary = entry().summary(b"")
        self.assertGreater(summary.urgency(NOW - CLOCK_SLACK - 1), 0)
        self.assertLess(summary.urgency(NOW - CLOCK_SLACK + 1), 0)


class TransitionTests(SynchronousTestCase):
    def test_failed(self) -> None:
        """After failures a renewal is tried again soon, is overdue since the first, and counts from the
        first."""
        for ttl, pause in ((60, MIN_RETRY), (1_000, 50.0), (86_400, MAX_RETRY)):
            first = entry(ttl, ttl)
            once = first.failed(RenewalFailure.UNANSWERED, first.due_at)
            twice = once.failed(RenewalFailure.NO_ROOM, once.try_at)
            self.assertEqual(once.try_at - once.due_at, pause)
            self.assertEqual((twice.due_at, twice.failing_since), (first.due_at, first.due_at))
            self.assertEqual((twice.failure, twice.version), (RenewalFailure.NO_ROOM, 7))

    def test_renewed(self) -> None:
        """A renewal ends all failures; the entry keeps what it is and since when."""
        failed = entry().failed(RenewalFailure.UNANSWERED, NOW + 500)
        renewed = failed.renewed(NOW + 550 + TTL, NOW + 550, 0.3)
        self.assertEqual((renewed.failure, renewed.failing_since), (RenewalFailure.NONE, 0.0))
        self.assertEqual((renewed.kept_at, renewed.renewed_at), (NOW, NOW + 550))
        self.assertGreater(renewed.due_at, NOW + 550 + 0.39 * TTL)
        self.assertLess(renewed.summary(b"").urgency(NOW + 551), 0)

    def test_stopped(self) -> None:
        """What was replaced is never due again, and fails no more."""
        stopped = entry().failed(RenewalFailure.OUTRANKED, NOW).stopped(KeptState.REPLACED, NOW)
        summary = stopped.summary(b"")
        self.assertLess(summary.urgency(NOW + 100 * TTL), 0)
        self.assertEqual((summary.overdue(NOW + 100 * TTL), summary.failure, stopped.size), (0, 0, 0))

    def test_explained(self) -> None:
        """Every failure is explained, also one that a later version has written."""
        texts = {explained(failure) for failure in RenewalFailure if failure}
        self.assertEqual(len(texts), len(RenewalFailure) - 1)
        self.assertTrue(explained(200))
