import random
from typing import cast

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from dht14.maintenance.keep import Keeper
from dht14.maintenance.kept_renewals import BATCH, RENEWALS_PER_SECOND, SCAN_PAGE, keep_interval
from dht14.node.policy import Policy
from dht14.records.kept import KeptEntry, KeptState, RenewalFailure
from dht14.records.record import version_at
from dht14.records.store import Refusal
from dht14.wire.messages import FindNode, Refused, Store
from tests.fakes import fields
from tests.maintenance.keep_case import OWNER, TTL, KeepTestCase
from tests.node.node_case import KEY


class PassTests(KeepTestCase):
    def test_when_due(self) -> None:
        """A value is renewed when about half of its life is over, and not before."""
        self.put_and_keep()
        self.network.wait(0.39 * TTL)
        self.run_pass()
        self.assertEqual(self.keeper.metrics.renewed, 0)
        self.network.wait(0.22 * TTL)
        self.run_pass()
        self.assertEqual(self.keeper.metrics.renewed, 1)
        self.assertGreater(self.entry().expires_at - self.now, 0.99 * TTL)
        self.run_pass()
        self.assertEqual(self.keeper.metrics.renewed, 1)

    def test_waits(self) -> None:
        """Nothing is renewed before the node has tried to join, and while it is cut off."""
        self.put_and_keep()
        self.network.wait(0.7 * TTL)
        self.joined = False
        self.run_pass()
        self.assertEqual((self.keeper.metrics.renewed, self.keeper.metrics.failed), (0, 0))
        self.assertGreater(self.keeper.metrics.overdue, 0.09 * TTL)
        self.joined = True
        self.run_pass()
        self.assertEqual((self.keeper.metrics.renewed, self.keeper.metrics.overdue), (1, 0))

    def test_paced(self) -> None:
        """Many values that are due at once are renewed at a bounded rate, more than a batch and a page of
        them too."""
        count = SCAN_PAGE + BATCH // 2
        rng = random.Random(1)
        keys = [rng.getrandbits(256) for _ in range(count)]
        for key in keys:
            self.keep(b"v", key)
        self.network.wait(0.7 * TTL)
        began = self.now
        done = Deferred.fromCoroutine(self.keeper.renewals.one_pass())
        self.network.wait(count / RENEWALS_PER_SECOND - 2)
        self.assertNoResult(done)
        self.network.wait(60)
        self.successResultOf(done)
        self.assertEqual(self.keeper.metrics.renewed, count)
        self.assertTrue(all(self.entry(key).renewed_at >= began for key in keys))

    def test_shared_lookups(self) -> None:
        """Where the table does not know a region, its values share one lookup."""
        self.patch(type(self.peers[-1].node.neighbourhood), "knows_region", lambda *_: False)
        for number in range(20):
            self.keep(b"v", KEY + number)
        self.network.wait(0.7 * TTL)
        for peer in self.peers:
            peer.asked.clear()
        self.run_pass()
        self.assertEqual(self.keeper.metrics.renewed, 20)
        self.assertLess(self.asked(self.peers, FindNode), 2 * len(self.peers))

    def test_changed_meanwhile(self) -> None:
        """What a client changes while it is renewed stands: a new value, and a key that left the list."""
        for change in ("keep", "unkeep"):
            self.put_and_keep()
            self.network.wait(0.7 * TTL)
            done = Deferred.fromCoroutine(self.keeper.renewals.one_pass())
            self.assertNoResult(done)
            if change == "keep":
                changed: Deferred[object] = Deferred.fromCoroutine(
                    self.keeper.keep(KEY, b"other", 1 << 60, TTL, 0)
                )
            else:
                changed = Deferred.fromCoroutine(self.keeper.unkeep(KEY))
            self.network.result(changed)
            self.network.result(done)
            entry = self.kept.get(KEY)
            if change == "keep":
                assert entry is not None
                self.assertEqual((entry.version, self.kept.value(entry)), (1 << 60, b"other"))
                self.network.wait(TTL)
            else:
                self.assertIsNone(entry)

    def test_client_gone(self) -> None:
        """A client that does not wait for the disk has its value renewed, and no room is lost."""
        put = self.network.result(self.peers[-1].node.put(KEY, b"value", TTL, 0))
        self.kept.hangs = True
        keeping = Deferred.fromCoroutine(self.keeper.keep(KEY, b"value", put.version, TTL, 0))
        keeping.cancel()
        self.failureResultOf(keeping, CancelledError)
        self.kept.flush()
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.assertEqual(self.keeper.metrics.renewed, 1)
        self.assertGreater(self.entry().expires_at, self.now + 0.9 * TTL)
        self.assertEqual(self.keeper._changes._pending_bytes, 0)

    def test_alone(self) -> None:
        """What a node without contacts has renewed on its own disk is renewed again soon: others may come
        back."""
        self.peers = [self.network.peer(self.rng.getrandbits(256))]
        self.keeper = Keeper(
            self.peers[0].node,
            self.kept,
            Policy(min_ttl=60, max_ttl=TTL, default_ttl=TTL),
            self.limit,
            self.network.clock,
            lambda: True,
        )
        self.keep()
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.assertEqual((self.keeper.metrics.renewed, self.keeper.metrics.failed), (1, 0))
        self.assertLessEqual(self.entry().due_at - self.now, 0.05 * TTL)

    def test_disk_hangs(self) -> None:
        """A value that is due while its client's change of it waits for the disk stops nothing."""
        self.put_and_keep()
        self.network.wait(0.7 * TTL)
        self.kept.hangs = True
        changed = Deferred.fromCoroutine(self.keeper.keep(KEY, b"other", version_at(self.now), TTL, 0))
        self.run_pass()
        self.assertNoResult(changed)
        self.assertEqual(self.keeper.metrics.ended, 0)
        self.kept.flush()
        self.assertIsInstance(self.successResultOf(changed), KeptEntry)

    def test_unreadable(self) -> None:
        """Entries that cannot be opened count as failing, and are renewed when they can be read again."""
        self.put_and_keep()
        self.network.wait(0.7 * TTL)
        self.kept.entry_at = lambda mark: None  # type: ignore[method-assign]
        for _ in range(2):
            self.run_pass()
            self.run_pass()
            self.assertEqual((self.keeper.metrics.failing, self.keeper.metrics.ended), (1, 0))
        del self.kept.entry_at
        self.run_pass()
        self.assertEqual((self.keeper.metrics.failing, self.keeper.metrics.renewed), (0, 1))

    def test_disk_fails(self) -> None:
        """While the list cannot be written its renewals are not repeated again and again."""
        self.put_and_keep()
        self.network.wait(0.7 * TTL)
        self.kept.put = lambda entry, value, done: done(False)  # type: ignore[method-assign]
        self.run_pass()
        asked = self.asked(self.peers, Store)
        self.run_pass()
        self.assertEqual(self.asked(self.peers, Store), asked)

    def test_damaged(self) -> None:
        """A value that is damaged on the disk is fetched from its holders and written again; without them the
        renewal fails."""
        self.put_and_keep()
        self.kept._values.clear()
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.assertEqual(self.kept.value(self.entry()), b"value")
        self.assertEqual(self.keeper.metrics.renewed, 1)
        self.kept._values.clear()
        self.network.wait(1.1 * TTL)
        self.run_pass()
        self.assertIs(self.entry().failure, RenewalFailure.DAMAGED)

    def test_owner_grows(self) -> None:
        """A longer value of the owner for which the list has no room is reported, and not kept."""
        self.put_and_keep(OWNER.says(b"short", 1), OWNER.key)
        while isinstance(self.keep(bytes(60_000), self.rng.getrandbits(256)), KeptEntry):
            pass
        long = OWNER.says(bytes(60_000), 2)
        self.assertTrue(self.put(self.peers[0], long, OWNER.key))
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.assertIs(self.entry(OWNER.key).failure, RenewalFailure.LIST_FULL)
        self.assertEqual(self.entry(OWNER.key).version, 1)

    def test_interval(self) -> None:
        """The shortest life is looked at six times; a look a quarter of a minute is enough for long ones."""
        self.assertEqual([keep_interval(ttl) for ttl in (1, 60, 86_400)], [0.5, 10.0, 15.0])


class ReportTests(KeepTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_bout(self) -> None:
        """Failures are logged once, and once when they are over; the metrics say how many there are."""
        self.put_and_keep()
        answers = [(peer, peer.answer) for peer in self.peers[:-1]]
        for peer, honest in answers:
            peer.answer = lambda request, sender, honest=honest: (  # type: ignore[misc]
                Refused((), Refusal.NO_ROOM) if isinstance(request, Store) else honest(request, sender)
            )
        self.network.wait(0.7 * TTL)
        for _ in range(3):
            self.run_pass()
            self.network.wait(40)
        self.assertEqual(fields(self.events, "failing", "values"), [(1, 1)])
        self.assertEqual(self.keeper.metrics.failing, 1)
        self.assertEqual(self.keeper.metrics.failures[RenewalFailure.NO_ROOM], 3)
        for peer, honest in answers:
            peer.answer = honest
        self.run_pass()
        self.assertEqual(self.keeper.metrics.failing, 0)
        over = [event for event in self.events if "renewed again" in str(event.get("log_format"))]
        self.assertEqual(len(over), 1)

    def test_stopped(self) -> None:
        """What is not renewed any more is logged once, without its key, and stays on the list."""
        self.put_and_keep()
        self.network.wait(1)
        self.assertTrue(self.put(self.peers[0], b"other"))
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.run_pass()
        self.assertEqual(fields(self.events, "replaced", "deleted"), [(1, 0)])
        self.assertNotIn(f"{KEY:x}", str(self.events))
        self.assertIs(self.entry().state, KeptState.REPLACED)
        self.assertEqual(self.keeper.metrics.states[KeptState.REPLACED], 1)
        self.assertEqual(evolve(self.entry(), changed_at=0.0).size, 0)
