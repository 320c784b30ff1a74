from twisted.trial.unittest import SynchronousTestCase

from dht14.node.resync_state import (
    MAX_REQUESTS,
    MAX_SERVES,
    NEIGHBOUR_TIMEOUT,
    RESYNC_TIMEOUT,
    SERVE_SPACING,
    ResyncState,
)
from dht14.records.store import BEGINNING
from tests.fakes import contact

NOW = 1000.0


class ResyncStateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.resync_state = ResyncState()

    def test_awaited(self) -> None:
        """Copies are not current until all neighbours have offered what they have."""
        self.resync_state.missed_writes((1, 2), NOW)
        for node_id, current in ((1, False), (3, False), (2, True)):
            self.resync_state.resynced(node_id)
            self.assertIs(self.resync_state.is_current, current)

    def test_alone(self) -> None:
        """Without other nodes there is nothing that could have been missed."""
        self.resync_state.missed_writes((), NOW)
        self.assertTrue(self.resync_state.is_current)

    def test_unasked(self) -> None:
        """RESYNCED of a node that was not asked does not count, not even before any node was asked."""
        resync_state = ResyncState(is_current=False)
        resync_state.resynced(1)
        self.assertFalse(resync_state.is_current)

    def test_cut_off(self) -> None:
        """A node that is cut off is not current, however long that lasts, until others have brought what it
        missed."""
        self.resync_state.missed_writes((1,), NOW)
        for seconds in range(0, 1000, 10):
            self.resync_state.lost_touch(NOW + seconds)
            self.resync_state.time_passed(NOW + seconds)
            self.resync_state.resynced(1)
            self.assertFalse(self.resync_state.is_current)
        self.resync_state.missed_writes((1,), NOW + 1000)
        self.resync_state.resynced(1)
        self.assertTrue(self.resync_state.is_current)

    def test_disk_hangs(self) -> None:
        """While the disk hangs copies are not current."""
        for hangs in (True, False):
            self.resync_state.disk_hangs = lambda hangs=hangs: hangs  # type: ignore[misc]
            self.assertIs(self.resync_state.is_current, not hangs)

    def test_stood_still(self) -> None:
        """A node that stood still is not current from its first answer on, until others have brought what it
        missed."""
        is_late = True
        self.resync_state.stands_still = lambda: is_late
        self.assertFalse(self.resync_state.is_current)
        self.resync_state.stood_still(NOW)
        is_late = False
        self.assertFalse(self.resync_state.is_current)
        self.assertTrue(self.resync_state.take_standstill())
        self.assertFalse(self.resync_state.take_standstill())
        self.resync_state.missed_writes((1,), NOW)
        self.resync_state.resynced(1)
        self.assertTrue(self.resync_state.is_current)

    def test_again(self) -> None:
        """A node that was away again waits again."""
        self.resync_state.missed_writes((1,), NOW)
        self.resync_state.missed_writes((2,), NOW + 1)
        self.resync_state.resynced(1)
        self.assertFalse(self.resync_state.is_current)
        self.resync_state.resynced(2)
        self.assertTrue(self.resync_state.is_current)

    def test_broken_word(self) -> None:
        """The wait ends after RESYNC_TIMEOUT."""
        self.resync_state.missed_writes((1,), NOW)
        self.resync_state.time_passed(NOW + RESYNC_TIMEOUT - 1)
        self.assertFalse(self.resync_state.is_current)
        self.resync_state.time_passed(NOW + RESYNC_TIMEOUT)
        self.assertTrue(self.resync_state.is_current)

    def test_askers(self) -> None:
        """Those that ask come to their turn once: as soon as they are neighbours, or when they will not
        be."""
        near, far = contact(1), contact(2)
        for asker in (near, far, near):
            self.resync_state.requested(asker, NOW)
        self.assertEqual(self.resync_state.take_requests((1, 3), NOW), {1: near})
        self.assertEqual(self.resync_state.take_requests((1, 3), NOW), {})
        self.assertEqual(self.resync_state.take_requests((1, 3), NOW + NEIGHBOUR_TIMEOUT), {2: far})

    def test_asking_again(self) -> None:
        """A contact that asks without end is served once in SERVE_SPACING: each time the whole store is
        scanned."""
        turns = []
        for second in range(round(2 * SERVE_SPACING) + 1):
            self.resync_state.requested(contact(1), NOW + second)
            turns += [second for _ in self.resync_state.take_requests((1,), NOW + second)]
        self.assertEqual(turns, [0, SERVE_SPACING, 2 * SERVE_SPACING])

    def test_not_served(self) -> None:
        """A contact that did not answer all offers is served again, MAX_SERVES times for each RESYNC."""
        one, now, turns = contact(1), NOW, 0
        for _ in range(2):
            self.resync_state.requested(one, now)
            for _ in range(2 * MAX_SERVES):
                if self.resync_state.take_requests((1,), now):
                    turns += 1
                    self.resync_state.not_served(one, now)
                now += SERVE_SPACING
        self.assertEqual(turns, 2 * MAX_SERVES)

    def test_lost(self) -> None:
        """A contact that did not answer its offers, and is no neighbour any more, comes to no turn in which
        nothing would be brought: it must ask again."""
        one = contact(1)
        self.resync_state.requested(one, NOW)
        self.assertEqual(self.resync_state.take_requests((1,), NOW), {1: one})
        self.resync_state.not_served(one, NOW)
        self.assertEqual(self.resync_state.take_requests((), NOW + NEIGHBOUR_TIMEOUT), {})
        self.assertFalse(self.resync_state.has_requests)
        self.resync_state.requested(one, NOW + NEIGHBOUR_TIMEOUT)
        self.assertEqual(self.resync_state.take_requests((), NOW + 2 * NEIGHBOUR_TIMEOUT), {1: one})

    def test_crowd(self) -> None:
        """Those that are no neighbours and ask, however many there are, keep no neighbour waiting."""
        for node_id in range(2, 2 + 2 * MAX_REQUESTS):
            self.resync_state.requested(contact(node_id), NOW)
        self.resync_state.requested(contact(1), NOW)
        self.assertEqual(self.resync_state.take_requests((1,), NOW), {1: contact(1)})

    def test_bounded(self) -> None:
        """At most MAX_REQUESTS requests are remembered."""
        for node_id in range(2 * MAX_REQUESTS):
            self.resync_state.requested(contact(node_id), NOW)
        self.assertEqual(len(self.resync_state.take_requests(range(2 * MAX_REQUESTS), NOW)), MAX_REQUESTS)

    def test_put_off(self) -> None:
        """A slow contact goes on where it was, at once, until it trusts its copies in any case. Its next
        RESYNC begins from the beginning."""
        one = contact(1)
        self.resync_state.requested(one, NOW)
        for turn in range(3):
            now = NOW + turn
            self.assertEqual(self.resync_state.take_requests((1,), now), {1: one})
            self.assertEqual(self.resync_state.mark_of(1), b"%d" % turn if turn else BEGINNING)
            self.resync_state.put_off(one, b"%d" % (turn + 1), now)
        self.resync_state.requested(one, NOW)
        self.assertEqual(self.resync_state.mark_of(1), BEGINNING)
        self.assertEqual(self.resync_state.take_requests((1,), NOW + 2 + SERVE_SPACING), {1: one})
        self.resync_state.put_off(one, b"1", NOW)
        self.resync_state.take_requests((1,), NOW)
        self.resync_state.put_off(one, b"2", NOW + RESYNC_TIMEOUT)
        self.assertFalse(self.resync_state.has_requests)

    def test_put_off_asks_again(self) -> None:
        """One that has asked again meanwhile begins from the beginning: it may have lost what it got."""
        one = contact(1)
        self.resync_state.requested(one, NOW)
        self.resync_state.take_requests((1,), NOW)
        self.resync_state.requested(one, NOW)
        self.resync_state.put_off(one, b"1", NOW)
        self.assertEqual(self.resync_state.mark_of(1), BEGINNING)
        self.assertEqual(self.resync_state.take_requests((1,), NOW), {}, "after the pause between two turns")
        self.assertTrue(self.resync_state.has_requests)

    def test_put_off_moves_away(self) -> None:
        """One that is no neighbour any more is not told that it has got all: nothing else would come."""
        one = contact(1)
        self.resync_state.requested(one, NOW)
        self.resync_state.take_requests((1,), NOW)
        self.resync_state.put_off(one, b"1", NOW)
        self.assertEqual(self.resync_state.take_requests((), NOW + NEIGHBOUR_TIMEOUT), {})
        self.assertFalse(self.resync_state.has_requests)

    def test_others(self) -> None:
        """Those that are served are not among those that wait for it."""
        self.resync_state.requested(contact(1), NOW)
        self.assertFalse(self.resync_state.has_requests_of_others({1}))
        self.assertTrue(self.resync_state.has_requests_of_others({2}))
