from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.maintenance.kept_changes import bytes_of
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry, KeptState
from dht14.records.receipt import PutOutcome, Receipt
from dht14.records.record import Record, version_at
from tests.maintenance.keep_case import OWNER, TTL, KeepTestCase
from tests.node.node_case import KEY


class ListTests(KeepTestCase):
    def test_full(self) -> None:
        """A value for which the list has no room is refused; one that replaces a longer one is not."""
        value = bytes(60_000)
        count = self.limit // bytes_of(len(value))
        results = [self.keep(value, key) for key in range(count + 2)]
        self.assertEqual(results[-1], KeepRefusal.LIST_FULL)
        self.assertIsInstance(results[count - 1], KeptEntry)
        self.assertIsInstance(self.keep(value[:-1], 0), KeptEntry)
        self.assertLessEqual(self.keeper.used, self.limit)
        self.assertEqual(self.keep(bytes(60_000), count + 5), KeepRefusal.LIST_FULL)

    def test_pending_count(self) -> None:
        """Values that wait for the disk count as well."""
        self.kept.hangs = True
        value = bytes(60_000)
        asked = [
            Deferred.fromCoroutine(self.keeper.keep(key, value, 1, TTL, 0))
            for key in range(self.limit // bytes_of(len(value)) + 3)
        ]
        refused = [one.result for one in asked if one.called]
        self.assertIn(KeepRefusal.LIST_FULL, refused)
        self.kept.flush()
        self.assertLessEqual(self.keeper.used, self.limit)

    def test_not_kept(self) -> None:
        """What cannot be renewed is refused, with its reason."""
        signed = OWNER.says(b"payload", 1)
        self.assertEqual(self.keep(version=None), KeepRefusal.NO_VERSION)
        self.assertEqual(self.keep(signed, KEY), KeepRefusal.NOT_AUTHENTIC)
        self.assertEqual(self.keep(signed[:-1] + b"!", OWNER.key), KeepRefusal.NOT_AUTHENTIC)
        self.assertEqual(self.keep(OWNER.says(b"", 2), OWNER.key), KeepRefusal.DELETED)
        self.assertEqual(self.keep(by=KeptBy.FILE), KeepRefusal.NO_FILE)
        self.kept.is_open = False
        self.assertEqual(self.keep(), KeepRefusal.NOT_READY)
        self.assertEqual(self.kept.usage().entries, 0)

    def test_versions(self) -> None:
        """Content has version 0, an owner's value its own number; neither needs a version of a receipt."""
        self.assertIsInstance(self.keep(b"c", hash_id(b"c"), version=None), KeptEntry)
        self.assertIsInstance(self.keep(OWNER.says(b"payload", 9), OWNER.key, version=None), KeptEntry)
        self.assertEqual((self.entry(hash_id(b"c")).version, self.entry(OWNER.key).version), (0, 9))

    def test_wishes(self) -> None:
        """Time to live and copies are within the bounds of the node."""
        self.keep(ttl=1)
        self.assertEqual((self.entry().ttl, self.entry().replication), (60, 8))
        self.keep(ttl=50_000)
        self.assertEqual(self.entry().ttl, TTL)

    def test_unkeep(self) -> None:
        """A key leaves the list once."""
        self.keep()
        self.assertEqual([self.unkeep(), self.unkeep()], [KeptBy(0), None])
        self.assertEqual(self.keeper.page(b"", 10).entries, [])

    def test_key_and_file(self) -> None:
        """What is kept by its own key and as a part of a file stays until both are let go, in any order."""
        for first, last in ((KeptBy.KEY, KeptBy.PART), (KeptBy.PART, KeptBy.KEY)):
            self.keep(by=first)
            self.keep(by=last)
            self.assertEqual(self.entry().by, KeptBy.KEY | KeptBy.PART)
            self.assertEqual(self.unkeep(first), last)
            self.assertEqual((self.entry().by, self.kept.value(self.entry())), (last, b"value"))
            self.assertEqual(self.unkeep(last), KeptBy(0))
            self.assertIsNone(self.kept.get(KEY))

    def test_not_by_the_file(self) -> None:
        """A file takes nothing with it that is kept by its own key alone; by its key any value is let go."""
        self.keep(by=KeptBy.KEY)
        self.assertIsNone(self.unkeep(KeptBy.PART))
        self.assertEqual(self.entry().by, KeptBy.KEY)
        self.unkeep(KeptBy.KEY)
        self.keep(by=KeptBy.PART)
        self.assertEqual(self.unkeep(KeptBy.KEY), KeptBy(0))

    def test_both_at_once(self) -> None:
        """That holds also for what is asked while the disk has not written what was asked before."""
        self.kept.hangs = True
        for by in (KeptBy.KEY, KeptBy.PART):
            Deferred.fromCoroutine(self.keeper.keep(KEY, b"value", 1, TTL, 0, by))
        Deferred.fromCoroutine(self.keeper.unkeep(KEY, KeptBy.PART))
        self.kept.flush()
        self.assertEqual((self.entry().by, self.kept.value(self.entry())), (KeptBy.KEY, b"value"))

    def test_pages(self) -> None:
        """All entries are on the pages, each once."""
        for key in range(25):
            self.keep(key=key)
        mark, keys = b"", []
        while (page := self.keeper.page(mark, 10)).mark is not None:
            keys += [entry.key for entry in page.entries]
            mark = page.mark
        self.assertEqual(keys + [entry.key for entry in page.entries], list(range(25)))


class PutAgainTests(KeepTestCase):
    """A client puts a kept key again, through the node that keeps it."""

    def put_again(self, value: bytes, key: int = KEY, ttl: int = TTL) -> Receipt:
        receipt = self.network.result(self.peers[-1].node.put(key, value, ttl, 0))
        assert isinstance(receipt, Receipt)
        return receipt

    def record(self, value: bytes, version: int) -> Record:
        return Record(key=KEY, value=value, version=version, expires_at=self.now + TTL, replication=8)

    def held(self, key: int = KEY) -> tuple[int, bytes | None, float]:
        """The version that is kept, its value, and the seconds until its renewal is due."""
        entry = self.entry(key)
        return entry.version, self.kept.value(entry), entry.due_at - self.now

    def test_taken(self) -> None:
        """The new value takes the place of the former, and is renewed before its own end, with the wishes of
        `keep`."""
        self.put_and_keep(b"former", ttl=300)
        receipt = self.put_again(b"new", ttl=60)
        version, value, due_in = self.held()
        self.assertEqual((version, value), (receipt.version, b"new"))
        self.assertLess(due_in, 60)
        self.assertEqual((self.entry().ttl, self.entry().replication), (300, 8))
        self.network.wait(50)
        self.run_pass()
        self.network.wait(200)
        self.assertTrue(all(peer.store.get(KEY, self.now) for peer in self.peers[:5] if peer.store))
        self.assertIs(self.entry().state, KeptState.RENEWED)

    def test_longer_life(self) -> None:
        """One that lives longer is renewed as the former was."""
        self.put_and_keep(b"former", ttl=60)
        self.put_again(b"new", ttl=600)
        self.assertLessEqual(self.held()[2], 0.6 * 60)

    def test_owner(self) -> None:
        """So is what an owner puts through this node; a deletion is none of that."""
        self.put_and_keep(OWNER.says(b"former", 1), OWNER.key)
        self.put_again(OWNER.says(b"new", 2), OWNER.key)
        self.assertEqual(self.held(OWNER.key)[:2], (2, OWNER.says(b"new", 2)))
        self.assertTrue(self.put_again(OWNER.says(b"", 3), OWNER.key).acknowledged)
        self.assertEqual(self.entry(OWNER.key).version, 2)

    def test_not_taken(self) -> None:
        """Nothing changes by a put of a key that is not kept, by one that is not stored, by one that has come
        too late, and by one that does not fit the list."""
        self.put_again(b"other", KEY ^ 1)
        self.assertIsNone(self.kept.get(KEY ^ 1))
        self.put_and_keep(b"former")
        before = self.entry()
        self.keeper.put_again(self.record(b"earlier", before.version - 1))
        for peer in self.peers[:-1]:
            peer.fall_silent()
        self.assertIs(self.put_again(b"not stored").outcome, PutOutcome.NOT_STORED)
        self.assertEqual(self.entry(), before)
        while isinstance(self.keep(bytes(60_000), self.kept.usage().entries), KeptEntry):
            pass
        self.keeper.put_again(self.record(bytes(60_000), before.version + 1))
        self.assertEqual(self.entry(), before)

    def test_disk(self) -> None:
        """The receipt comes when the list is on the disk; if that hangs, at the end of the time of a put."""
        self.put_and_keep(b"former")
        self.kept.hangs = True
        put = self.peers[-1].node.put(KEY, b"new", TTL, 0)
        self.network.wait(OPERATION_TIMEOUT / 2)
        self.assertNoResult(put)
        self.kept.flush()
        self.assertTrue(self.successResultOf(put).acknowledged)
        self.assertEqual(self.held()[1], b"new")
        self.kept.hangs = True
        put = self.peers[-1].node.put(KEY, b"newer", TTL, 0)
        self.network.wait(OPERATION_TIMEOUT + 0.1)
        self.assertTrue(self.successResultOf(put).acknowledged)

    def test_kept_in_another_order(self) -> None:
        """Of two values that are put and kept, the one that was put later stays, in whatever order they come
        on the list; one with a version from the future, made by a wrong clock, gives way."""
        first, second = self.put_again(b"first"), self.put_again(b"second")
        self.keep(b"second", version=second.version)
        self.keep(b"first", ttl=100, version=first.version)
        self.assertEqual(self.held()[:2], (second.version, b"second"))
        self.assertEqual(self.entry().ttl, 100)
        self.keep(b"future", version=version_at(self.now + 1_000))
        self.keep(b"now", version=version_at(self.now))
        self.assertEqual(self.held()[1], b"now")
