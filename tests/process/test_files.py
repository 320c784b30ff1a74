"""Files on real nodes."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14 import FileProgress
from dht14.client.part_file import SUFFIX
from dht14.testing import testnet


class Interrupted(Exception):
    """Ends a transfer in the middle."""


class FileTests(SynchronousTestCase):
    """Files of some megabytes in a network of six nodes."""

    def test_interrupted(self) -> None:
        """A file is put, interrupted, put again; fetched elsewhere, interrupted, and fetched to its end
        through a third node when two nodes, the asked one included, have died."""
        folder = Path(self.mktemp())
        folder.mkdir()
        source, target = folder / "source", folder / "target"
        content = os.urandom(4_000_000)
        source.write_bytes(content)

        def interrupt(progress: FileProgress) -> None:
            if progress.bytes_done > 2_000_000:
                raise Interrupted

        with testnet(6) as cluster:
            one, other, third = cluster.clients[0], cluster.clients[1], cluster.clients[2]
            self.assertRaises(Interrupted, one.put_file, source, progress=interrupt)
            stored = one.put_file(source)
            self.assertGreater(stored.bytes_found, 1_900_000)
            self.assertIsNone(stored.copies, "of pieces that were found the number of copies is unknown")
            self.assertRaises(Interrupted, other.get_file, stored.address, target, progress=interrupt)
            self.assertFalse(target.exists())
            self.assertGreater(Path(f"{target}{SUFFIX}").stat().st_size, 1_900_000)
            cluster.kill(1, 4)
            fetched = third.get_file(stored.address, target)
            assert fetched is not None
            self.assertGreater(fetched.bytes_found, 1_900_000)
            self.assertEqual(target.read_bytes(), content)
