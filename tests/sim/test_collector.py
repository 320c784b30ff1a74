"""The garbage collector during a run."""

import gc

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.collector import THRESHOLDS, rare_collections


class RareCollectionsTests(SynchronousTestCase):
    def test_restored(self) -> None:
        """The thresholds hold inside, and those before it hold again afterwards, also after an error."""
        before = gc.get_threshold()
        with self.assertRaises(KeyError), rare_collections():
            self.assertEqual(gc.get_threshold(), THRESHOLDS)
            raise KeyError
        self.assertEqual(gc.get_threshold(), before)
