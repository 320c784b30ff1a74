"""Watching on a network without datagrams: changes are told, whatever some of the holders do."""

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP
from dht14.net.api.states import KeyStates
from dht14.node import watches
from dht14.node.leases import LEASE_SECONDS
from dht14.node.metrics import ReadCause
from dht14.node.watch_state import POLL_INTERVAL, RENEW_INTERVAL, Found
from dht14.node.watched_key import Subscription
from dht14.records.receipt import NoRecord
from dht14.records.record import Record, version_at
from dht14.records.store import Refusal
from dht14.wire.messages import NOTHING_HELD, Notify, Refused, Reply, Request, Store, Watch
from tests.fakes import LATENCY, Peer
from tests.node.node_case import KEY, PROMISED, NodeTestCase
from tests.owners import Owner


class WatchesTestCase(NodeTestCase):
    """Twenty nodes, the nearest to KEY first; the last one watches."""

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(20)
        self.watcher, self.writer = self.peers[-1], self.peers[-2]
        self.told: list[bytes | NoRecord] = []

    def watch(self, key: int = KEY, peer: Peer | None = None) -> Subscription:
        """Begin a watch, and wait for its leases."""
        subscription = (peer or self.watcher).node.watches.watch(key, self.changed)
        assert subscription is not None
        self.addCleanup(subscription.end)
        self.assertIs(self.present(subscription), NoRecord.NOT_FOUND)
        self.network.wait(0.2)
        return subscription

    def changed(self, found: Found) -> None:
        self.told.append(found.value if isinstance(found, Record) else found)

    def present(self, subscription: Subscription) -> Found:
        found: Found = self.network.result(subscription.present())
        return found

    def told_within(self, seconds: float) -> list[bytes | NoRecord]:
        """What is told in the next seconds."""
        self.told.clear()
        self.network.wait(seconds)
        return list(self.told)

    def told_after_put(self, value: bytes, key: int = KEY) -> list[bytes | NoRecord]:
        """What is told from the beginning of a put to one second after it."""
        self.told.clear()
        self.assertTrue(self.put(self.writer, value, key))
        self.network.wait(1)
        return list(self.told)

    def leases(self) -> list[int]:
        """How many leases each peer has given."""
        return [
            0 if peer.responder._notifier is None else peer.responder._notifier.leases for peer in self.peers
        ]

    def reads(self) -> int:
        return sum(self.watcher.node.watches.metrics.reads.values())

    def behave(self, peer: Peer, kind: type, answer: Callable[[Request, Contact], Reply | None]) -> None:
        """Let a peer answer requests of one kind in another way."""
        usual = peer.answer

        def changed(request: Request, sender: Contact) -> Reply | None:
            return answer(request, sender) if isinstance(request, kind) else usual(request, sender)

        peer.answer = changed


def refuse(reason: Refusal, request: Request, sender: Contact) -> Reply:
    return Refused((), reason)


class ChangeTests(WatchesTestCase):
    def test_changes(self) -> None:
        """What is put is told within a second, and each version once."""
        self.watch()
        for value in (b"1", b"2", b"3"):
            self.assertEqual(self.told_after_put(value), [value])
        self.assertEqual(self.told_within(60), [])

    def test_present(self) -> None:
        """A watch begins with the present state, which is not told as a change; later ones are."""
        self.put(self.writer, b"1")
        subscription = self.watcher.node.watches.watch(KEY, self.changed)
        assert subscription is not None
        self.addCleanup(subscription.end)
        found = self.present(subscription)
        assert isinstance(found, Record)
        self.assertEqual((found.value, self.told), (b"1", []))
        self.network.wait(0.2)
        self.put(self.writer, b"2")
        self.network.wait(1)
        self.assertEqual(self.told, [b"2"])

    def test_present_during_read(self) -> None:
        """What a read finds that was under way when a watch began is not told behind the present state."""
        self.put(self.writer, b"1")
        other = self.watcher.node.watches.watch(KEY, self.changed)
        assert other is not None
        self.addCleanup(other.end)
        other.present()
        states = KeyStates(self.watcher.node, KEY)
        self.addCleanup(states.end)
        following = Deferred.fromCoroutine(states.following())
        self.put(self.writer, b"2")
        found = self.network.result(following)
        assert isinstance(found, Record)
        self.assertEqual(found.value, b"2")
        following = Deferred.fromCoroutine(states.following())
        self.network.wait(2)
        self.assertNoResult(following)

    def test_half_put(self) -> None:
        """A put that has reached one holder so far is found by one read and not by the next; nobody is told
        the older value again. If it is lost with that holder, that is told after some seconds."""
        self.put(self.writer, b"1")
        subscription = self.watcher.node.watches.watch(KEY, self.changed)
        assert subscription is not None
        self.addCleanup(subscription.end)
        self.present(subscription)
        self.network.wait(0.2)
        version = version_at(self.now)
        self.peers[0].answer(Store(KEY, version, 600_000, 8, 0, b"2", False), self.writer.contact)
        self.assertEqual(self.told_within(1), [b"2"])
        self.peers[0].latency = 0.4
        self.assertIs(self.present(subscription), NoRecord.UNANSWERED)
        newcomer = self.watcher.node.watches.watch(KEY, self.changed)
        assert newcomer is not None
        self.addCleanup(newcomer.end)
        found = self.present(newcomer)
        assert isinstance(found, Record)
        self.assertEqual((found.value, self.told), (b"1", [b"2"]))
        self.peers[0].latency = LATENCY
        self.assertEqual(self.told_within(2), [b"2"], "what the newcomer did not know")
        self.peers[0].fall_silent()
        self.present(subscription)
        self.assertEqual(self.told_within(3), [])
        self.assertEqual(self.told_within(30), [b"1", b"1"])

    def test_expiry(self) -> None:
        """A record that expires is told as gone, at that moment."""
        self.watch()
        self.put(self.writer, b"short", ttl=30)
        self.network.wait(1)
        self.assertEqual(self.told, [b"short"])
        self.assertEqual(self.told_within(28), [])
        self.assertEqual(self.told_within(2), [NoRecord.NOT_FOUND])

    def test_delete(self) -> None:
        """A record that its owner deletes is told as gone, once."""
        owner = Owner()
        self.watch(owner.key)
        first = owner.says(b"payload", 1)
        self.assertEqual(self.told_after_put(first, owner.key), [first])
        self.assertEqual(self.told_after_put(owner.says(b"", 2), owner.key), [NoRecord.DELETED])
        self.assertEqual(self.told_within(POLL_INTERVAL * 10), [])

    def test_own_store(self) -> None:
        """A watcher that is a holder itself hears of its own record without a datagram."""
        self.watch(peer=self.peers[0])
        self.put(self.writer, b"1")
        self.network.wait(1)
        self.assertEqual(self.told, [b"1"])
        self.assertEqual(sum(self.leases()), GROUP - 1)

    def test_alone(self) -> None:
        """A node without others watches its own store."""
        alone = self.network.peer(1 << 250)
        self.watch(peer=alone)
        self.put(alone, b"1")
        self.network.wait(1)
        self.assertEqual(self.told, [b"1"])


class LeaseTests(WatchesTestCase):
    def test_group(self) -> None:
        """The leases are at the group of the key, one for each, however many watch it."""
        first, second = self.watch(), self.watch()
        self.assertEqual(self.leases(), [1] * GROUP + [0] * 15)
        first.end()
        self.network.wait(1)
        self.assertEqual(sum(self.leases()), GROUP)
        second.end()
        second.end()
        self.network.wait(1)
        self.assertEqual(sum(self.leases()), 0)

    def test_renewed(self) -> None:
        """Leases live on for as long as the watch does."""
        self.watch()
        self.network.wait(5 * LEASE_SECONDS)
        self.assertEqual(self.leases()[:GROUP], [1] * GROUP)
        self.assertEqual(self.told_after_put(b"1"), [b"1"])

    def test_stand_ins(self) -> None:
        """The next nearest give leases in place of those that refuse or are silent."""
        self.peers[0].fall_silent()
        self.behave(self.peers[1], Watch, partial(refuse, Refusal.SHARE))
        self.watch()
        self.network.wait(2)
        self.assertEqual(self.leases(), [0, 0] + [1] * GROUP + [0] * 13)

    def test_three_of_five_die(self) -> None:
        """A change is told within a second although three of the five members of the group have just died."""
        self.watch()
        self.put(self.writer, b"1")
        self.network.wait(1)
        for peer in self.peers[:3]:
            peer.fall_silent()
        self.assertEqual(self.told_after_put(b"2"), [b"2"])

    def test_all_die(self) -> None:
        """When the whole group dies, the next renewal finds another one, and the change."""
        self.watch()
        self.put(self.writer, b"1")
        self.network.wait(1)
        for peer in self.peers[:GROUP]:
            peer.fall_silent()
        self.told.clear()
        self.put(self.writer, b"2")
        self.network.wait(1.1 * RENEW_INTERVAL + 5)
        self.assertEqual(self.told, [b"2"])

    def test_newcomers(self) -> None:
        """When nearer nodes come, they are asked at the next renewal."""
        self.watch()
        newcomers = [self.network.peer(KEY ^ number) for number in range(1, GROUP + 1)]
        self.network.acquaint([*newcomers, *self.peers])
        self.network.wait(1.1 * RENEW_INTERVAL + 1)
        for newcomer in newcomers:
            assert newcomer.responder._notifier is not None
            self.assertEqual(newcomer.responder._notifier.leases, 1)

    def test_lost(self) -> None:
        """What lost NOTIFYs did not tell, the next renewal tells."""
        self.watch()
        self.behave(self.watcher, Notify, lambda request, sender: None)
        self.put(self.writer, b"1")
        self.assertEqual(self.told_within(5), [])
        self.assertEqual(self.told_within(1.1 * RENEW_INTERVAL), [b"1"])

    def test_group_refuses(self) -> None:
        """Leases of nodes that writers do not ask are not enough: where most of the group gives none, changes
        are found by polling."""
        for peer in self.peers[:GROUP]:
            self.behave(peer, Watch, partial(refuse, Refusal.NO_ROOM))
        self.watch()
        self.assertEqual(sum(self.leases()[GROUP:]), GROUP)
        self.network.wait(20 * POLL_INTERVAL)
        self.put(self.writer, b"1", replication=GROUP)
        self.assertEqual(self.told_within(POLL_INTERVAL + 1), [b"1"])

    def test_all_refuse(self) -> None:
        """Where nobody gives a lease, changes are found by polling."""
        for peer in self.peers:
            self.behave(peer, Watch, partial(refuse, Refusal.NO_ROOM))
        self.watch()
        self.put(self.writer, b"1")
        self.assertEqual(self.told_within(POLL_INTERVAL + 1), [b"1"])


class HostileTests(WatchesTestCase):
    def test_forged_notifications(self) -> None:
        """Nodes that invent changes cause reads, fewer and fewer, and nothing is told."""
        self.watch()
        before = self.reads()
        for turn in range(600):
            for liar in self.peers[:2]:
                self.watcher.answer(Notify(KEY, b"lie%05d" % turn), liar.contact)
            self.network.wait(1)
        self.assertEqual(self.told, [])
        self.assertLess(self.reads() - before, 2 * 20 + 10)

    def test_turns(self) -> None:
        """Two nodes that lie in turns, and tell the truth between their lies, cause no more reads."""
        self.watch()
        before = self.reads()
        for turn in range(600):
            liar, other = self.peers[turn % 2], self.peers[1 - turn % 2]
            self.watcher.answer(Notify(KEY, NOTHING_HELD), other.contact)
            self.watcher.answer(Notify(KEY, b"lie%05d" % turn), liar.contact)
            self.network.wait(1)
        self.assertLess(self.reads() - before, 2 * 20 + 10)

    def test_strangers(self) -> None:
        """A NOTIFY of a node that was not asked is refused, and causes nothing."""
        self.watch()
        before = self.reads()
        for peer in self.peers[10:15]:
            reply = self.watcher.answer(Notify(KEY, b"a change"), peer.contact)
            self.assertEqual(reply, Refused((), Refusal.NOT_WATCHED))
        self.network.wait(1)
        self.assertEqual(self.reads(), before)
        self.assertEqual(self.watcher.node.watches.metrics.unasked, 5)

    def test_liars_hide_nothing(self) -> None:
        """While two of the group flood the watcher with hints, it is told within a second what is put."""
        self.watch()
        for turn in range(30):
            for liar in self.peers[:2]:
                self.watcher.answer(Notify(KEY, b"lie%05d" % turn), liar.contact)
            self.network.wait(0.1)
        self.put(self.writer, b"1")
        self.network.wait(1)
        self.assertEqual(self.told, [b"1"])


class LimitTests(WatchesTestCase):
    def test_keys(self) -> None:
        """A node watches so many keys and no more; the same key counts once."""
        self.patch(watches, "MAX_WATCHED", 2)
        subscriptions = [self.watch(1), self.watch(2), self.watch(2)]
        self.assertIsNone(self.watcher.node.watches.watch(3, self.changed))
        refused = self.network.result(self.watcher.node.watch(3, self.changed))
        self.assertIs(refused, NoRecord.TOO_MANY_WATCHES)
        metrics = self.watcher.node.watches.metrics
        self.assertEqual((metrics.watched, metrics.subscriptions, metrics.refused), (2, 3, 2))
        subscriptions[0].end()
        self.watch(3)

    def test_subscriptions(self) -> None:
        """All watches together have a limit, too."""
        self.patch(watches, "MAX_SUBSCRIPTIONS", 2)
        self.watch(1)
        self.watch(1)
        self.assertIsNone(self.watcher.node.watches.watch(1, self.changed))

    def test_stop(self) -> None:
        """A node that stops says so, answers those who wait, and leaves no timer."""
        subscription = self.watch()
        under_way, waiting = subscription.present(), subscription.present()
        self.watcher.node.watches.stopService()
        self.assertIs(self.network.result(waiting), NoRecord.UNANSWERED)
        self.assertIs(self.network.result(under_way), NoRecord.NOT_FOUND)
        self.assertEqual(self.told, [NoRecord.NOT_READY])
        self.network.wait(5)
        reads = self.reads()
        self.network.wait(100)
        self.assertEqual(self.reads(), reads)
        self.assertIsNone(self.watcher.node.watches.watch(KEY, self.changed))

    def test_in_time(self) -> None:
        """Who asks for the present state gets an answer in the time of a get, and is told the state later."""
        self.put(self.writer, b"1")
        subscription = self.watcher.node.watches.watch(KEY, self.changed)
        assert subscription is not None
        self.addCleanup(subscription.end)
        slow: Deferred[Found] = Deferred()
        self.patch(self.watcher.node.watches._access, "read", lambda key: slow)
        present = subscription.present()
        self.assertLess(self.network.seconds_until(present), PROMISED)
        self.assertIs(self.successResultOf(present), NoRecord.UNANSWERED)
        assert self.peers[0].store is not None
        found = self.peers[0].store.get(KEY, self.now)
        assert found is not None
        slow.callback(found)
        self.assertEqual(self.told, [b"1"])

    def test_bug(self) -> None:
        """An error that nobody expects is logged, and the watch goes on later."""
        subscription = self.watch()

        def broken(key: int) -> Deferred[Found]:
            raise ZeroDivisionError

        with capturedLogs() as events:
            access = self.watcher.node.watches._access
            usual, access.read = access.read, broken
            self.assertIs(self.network.result(subscription.present()), NoRecord.UNANSWERED)
            access.read = usual
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(events))
        self.assertLess(len(events), 6)
        self.put(self.writer, b"1")
        self.network.wait(30)
        self.assertEqual(self.told, [b"1"])

    def test_causes(self) -> None:
        """Reads are counted by what caused them."""
        self.watch()
        self.put(self.writer, b"1")
        self.network.wait(20 * POLL_INTERVAL)
        reads = self.watcher.node.watches.metrics.reads
        self.assertEqual(reads[ReadCause.CLIENT], 1)
        self.assertGreaterEqual(reads[ReadCause.HINT], 1)
        self.assertGreaterEqual(reads[ReadCause.POLL], 1)
