from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id
from dht14.maintenance.kept_changes import bytes_of
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry
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
        for first, last in ((KeptBy.KEY, KeptBy.FILE), (KeptBy.FILE, KeptBy.KEY)):
            self.keep(by=first)
            self.keep(by=last)
            self.assertEqual(self.entry().by, KeptBy.KEY | KeptBy.FILE)
            self.assertEqual(self.unkeep(first), last)
            self.assertEqual((self.entry().by, self.kept.value(self.entry())), (last, b"value"))
            self.assertEqual(self.unkeep(last), KeptBy(0))
            self.assertIsNone(self.kept.get(KEY))

    def test_not_by_the_file(self) -> None:
        """A file takes nothing with it that is kept by its own key alone; by its key any value is let go."""
        self.keep(by=KeptBy.KEY)
        self.assertIsNone(self.unkeep(KeptBy.FILE))
        self.assertEqual(self.entry().by, KeptBy.KEY)
        self.unkeep(KeptBy.KEY)
        self.keep(by=KeptBy.FILE)
        self.assertEqual(self.unkeep(KeptBy.KEY), KeptBy(0))

    def test_both_at_once(self) -> None:
        """That holds also for what is asked while the disk has not written what was asked before."""
        self.kept.hangs = True
        for by in (KeptBy.KEY, KeptBy.FILE):
            Deferred.fromCoroutine(self.keeper.keep(KEY, b"value", 1, TTL, 0, by))
        Deferred.fromCoroutine(self.keeper.unkeep(KEY, KeptBy.FILE))
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
