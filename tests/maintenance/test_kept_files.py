from attrs import evolve
from twisted.internet.defer import Deferred

from dht14.files.address import encode_link
from dht14.files.manifest import FANOUT, MIN_PIECE_BYTES, Manifest
from dht14.files.tree import TreeBuilder
from dht14.kademlia.keyspace import hash_id, id_from_bytes, id_to_bytes
from dht14.maintenance.keep import Keeper
from dht14.maintenance.kept_files import PAUSE, WAIT, UnkeptFile
from dht14.node.policy import Policy
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry, KeptSummary
from tests.maintenance.keep_case import OWNER, TTL, KeepTestCase
from tests.owners import Owner

OTHER = Owner(2)
FILE, PART, KEY = KeptBy.FILE, KeptBy.PART, KeptBy.KEY


def pieces_of(*numbers: int) -> list[bytes]:
    return [bytes([number]) * MIN_PIECE_BYTES for number in numbers]


def root_of(pieces: list[bytes]) -> bytes:
    keys = b"".join(id_to_bytes(hash_id(piece)) for piece in pieces)
    return Manifest(0, MIN_PIECE_BYTES, len(pieces) * MIN_PIECE_BYTES, keys).encode()


def link_to(root: bytes) -> bytes:
    return encode_link(id_to_bytes(hash_id(root)))


ONE, TWO, THREE = (pieces_of(1, 2), pieces_of(2, 3), pieces_of(3, 4))


class KeptFilesTestCase(KeepTestCase):
    def keep_file(self, pieces: list[bytes], owner: Owner | None = None, seq: int = 1) -> int:
        """Keep a file as a client does, under the name of an owner or its own address, which is returned."""
        root = root_of(pieces)
        if owner is None:
            self.keep(root, hash_id(root), by=FILE)
        else:
            self.keep(owner.says(link_to(root), seq), owner.key, by=FILE)
            self.keep(root, hash_id(root), by=PART)
        for piece in pieces:
            self.keep(piece, hash_id(piece), by=PART)
        return hash_id(root) if owner is None else owner.key

    def unkeep_file(self, key: int) -> UnkeptFile | KeepRefusal | None:
        unkept: UnkeptFile | KeepRefusal | None = self.network.result(
            Deferred.fromCoroutine(self.keeper.unkeep_file(key))
        )
        return unkept

    def tidy(self) -> None:
        self.network.result(Deferred.fromCoroutine(self.keeper.files.tidy()))

    @property
    def keys(self) -> set[int]:
        return {entry.key for entry in self.keeper.page(b"", 1_000).entries}

    def check(self, *files: list[bytes], owners: tuple[Owner, ...] = ()) -> None:
        """The list has exactly these files, and these names of them."""
        values = {value for pieces in files for value in (*pieces, root_of(pieces))}
        self.assertEqual(self.keys, {hash_id(value) for value in values} | {owner.key for owner in owners})


class UnkeepTests(KeptFilesTestCase):
    def test_let_go(self) -> None:
        """A file takes with it what no other kept file has, and what is not kept by its own key."""
        one, two = self.keep_file(ONE), self.keep_file(TWO)
        self.keep(ONE[0], hash_id(ONE[0]), by=KEY)
        self.assertEqual(self.unkeep_file(one), UnkeptFile(ended=1, shared=1, by_key=1))
        self.assertEqual(self.entry(hash_id(ONE[0])).by, KEY)
        self.unkeep_all(hash_id(ONE[0]))
        self.check(TWO)
        self.assertEqual(self.unkeep_file(two), UnkeptFile(ended=3))
        self.assertEqual(self.keys, set())
        self.assertIsNone(self.unkeep_file(two))

    def unkeep_all(self, key: int) -> None:
        self.network.result(Deferred.fromCoroutine(self.keeper.unkeep(key)))

    def test_names(self) -> None:
        """A file with several names, its own address among them, stays until all of them are let go."""
        names = [self.keep_file(ONE, OWNER), self.keep_file(ONE), self.keep_file(ONE, OTHER)]
        for name, unkept in zip(
            names, (UnkeptFile(1, shared=3), UnkeptFile(0, shared=3), UnkeptFile(4)), strict=True
        ):
            self.assertEqual(self.keys >= {hash_id(value) for value in (*ONE, root_of(ONE))}, True)
            self.assertEqual(self.unkeep_file(name), unkept)
        self.assertEqual(self.keys, set())

    def test_part_is_no_address(self) -> None:
        """Under the address of a file that is kept by a name alone, no file is let go."""
        self.keep_file(ONE, OWNER)
        self.assertIsNone(self.unkeep_file(hash_id(root_of(ONE))))
        self.check(ONE, owners=(OWNER,))

    def test_by_its_key(self) -> None:
        """An address that is let go by its key takes its parts with it, at the next look at the list."""
        one = self.keep_file(ONE)
        self.keep_file(TWO)
        self.unkeep_all(one)
        self.tidy()
        self.check(TWO)

    def test_levels(self) -> None:
        """So does a file with manifests between its root and its pieces, and an empty one."""
        tree = TreeBuilder(MIN_PIECE_BYTES)
        pieces = [number.to_bytes(4, "big") for number in range(FANOUT + 3)]
        values = [value for one in pieces for value in tree.add(id_to_bytes(hash_id(one)), MIN_PIECE_BYTES)]
        *values, root = [*values, *tree.finish()]
        kept = [root, *values, *pieces[:3], *pieces[-3:]]
        for value in kept:
            self.keep(value, hash_id(value), by=FILE if value is root else PART)
        self.tidy()
        self.assertEqual(self.keys, {hash_id(value) for value in kept})
        self.assertEqual(self.unkeep_file(hash_id(root)), UnkeptFile(ended=len(kept)))
        self.assertEqual(self.unkeep_file(self.keep_file([])), UnkeptFile(ended=1))

    def test_disk(self) -> None:
        """If the list cannot be written, nothing was let go."""
        one = self.keep_file(ONE)
        self.kept.is_open = False
        self.assertIs(self.unkeep_file(one), KeepRefusal.NOT_READY)


class VersionTests(KeptFilesTestCase):
    """The owner of a name lets it name another file."""

    def test_kept(self) -> None:
        """When the new version is kept, those parts of the old one leave that neither it nor another file
        has."""
        self.keep_file(ONE, OWNER, seq=1)
        self.keep_file(THREE)
        self.keep_file(TWO, OWNER, seq=2)
        self.tidy()
        self.check(TWO, THREE, owners=(OWNER,))

    def test_old_has_its_address(self) -> None:
        """The old version stays if it is kept by its own address, too."""
        self.keep_file(ONE, OWNER, seq=1)
        self.keep_file(ONE)
        self.keep_file(THREE, OWNER, seq=2)
        self.tidy()
        self.check(ONE, THREE, owners=(OWNER,))

    def test_followed(self) -> None:
        """So do they when a renewal follows the name."""
        put = self.peers[0].node.put(OWNER.key, OWNER.says(link_to(root_of(THREE)), 2), TTL, 0)
        self.assertTrue(self.network.result(put).acknowledged)
        self.keep_file(ONE, OWNER, seq=1)
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.assertEqual(self.entry(OWNER.key).version, 2)
        self.tidy()
        self.assertEqual(self.keys, {OWNER.key})

    def test_deleted(self) -> None:
        """A name that its owner has deleted stays on the list, which tells so, without parts."""
        self.keep_file(ONE, OWNER, seq=1)
        put = self.peers[0].node.put(OWNER.key, OWNER.says(b"", 2), TTL, 0)
        self.assertTrue(self.network.result(put).acknowledged)
        self.network.wait(0.7 * TTL)
        self.run_pass()
        self.tidy()
        self.assertEqual(self.keys, {OWNER.key})


class SearchTests(KeptFilesTestCase):
    """A search takes nothing off the list that may belong to a kept file."""

    def test_while_keeping(self) -> None:
        """While a client keeps parts, perhaps before the manifest that names them, nobody searches; one who
        lets a file go waits, and is told what is not known yet."""
        two = self.keep_file(TWO)
        self.keep(root_of(ONE), hash_id(root_of(ONE)), by=PART)
        with self.keeper.files.keeping(hash_id(b"more"), PART):
            self.tidy()
            unkept = Deferred.fromCoroutine(self.keeper.unkeep_file(two))
            self.network.wait(WAIT / 2)
            self.assertNoResult(unkept)
            self.network.wait(WAIT)
            self.assertEqual(self.successResultOf(unkept), UnkeptFile(is_known=False))
            self.assertEqual(len(self.keys), 4)
        self.network.wait(PAUSE)
        self.tidy()
        self.assertEqual(self.keys, set())

    def test_kept_meanwhile(self) -> None:
        """What a client keeps during a search stays, though the search has not seen its address."""
        one = self.keep_file(ONE)
        kept = self.kept

        def value(entry: KeptEntry) -> bytes | None:
            kept.value = kept_value  # type: ignore[method-assign]
            for part in (root_of(ONE), *ONE):
                key, by = hash_id(part), FILE if hash_id(part) == one else PART
                with self.keeper.files.keeping(key, by):
                    self.successResultOf(
                        Deferred.fromCoroutine(self.keeper.keep(key, part, None, TTL, 0, by))
                    )
            return kept_value(entry)

        kept_value = kept.value
        kept.value = value  # type: ignore[method-assign]
        self.assertEqual(self.unkeep_file(one), UnkeptFile(ended=0))
        self.check(ONE)
        self.tidy()
        self.check(ONE)

    def test_damaged(self) -> None:
        """While a manifest cannot be read nothing leaves; when it can, the rest does."""
        one, _ = self.keep_file(ONE), self.keep_file(TWO)
        value = self.kept._values.pop(hash_id(root_of(TWO)))
        self.assertEqual(self.unkeep_file(one), UnkeptFile(is_known=False))
        self.assertEqual(len(self.keys), 5)
        self.kept._values[hash_id(root_of(TWO))] = value
        self.network.wait(PAUSE)
        self.tidy()
        self.check(TWO)

    def test_cut_short(self) -> None:
        """A list of which only the beginning can be read takes nothing with it."""
        files = [pieces_of(number, number + 1) for number in range(20)]
        # The address is the last entry of the list.
        (pieces, *_) = [one for one in files if hash_id(root_of(one)) > max(map(hash_id, one))]
        self.keep_file(pieces)
        summaries = self.kept.summaries

        def some(mark: bytes, count: int) -> list[KeptSummary]:
            return [one for one in summaries(mark, count) if id_from_bytes(one.mark) in map(hash_id, pieces)]

        self.kept.summaries = some  # type: ignore[method-assign]
        self.tidy()
        self.kept.summaries = summaries  # type: ignore[method-assign]
        self.check(pieces)

    def test_after_restart(self) -> None:
        """What a node has not done before it was killed it does when it runs again."""
        self.keep_file(ONE)
        root = self.entry(hash_id(root_of(ONE)))
        self.kept.put(evolve(root, by=PART), None, lambda _: None)
        policy = Policy(min_ttl=60, max_ttl=TTL, default_ttl=TTL)
        node, clock = self.peers[-1].node, self.network.clock
        self.keeper = Keeper(node, self.kept, policy, self.limit, clock, lambda: True)
        self.network.result(Deferred.fromCoroutine(self.keeper.one_pass()))
        self.assertEqual(self.keys, set())
