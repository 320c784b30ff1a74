from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia import parameters as p


class ParametersTests(SynchronousTestCase):
    """What the figures promise each other."""

    def test_times(self) -> None:
        """A contact is slow before it is silent, silent before it is given up, and all that within one operation."""
        self.assertTrue(p.SOFT_TIMEOUT_MIN < p.SOFT_TIMEOUT_UNKNOWN < p.SOFT_TIMEOUT_MAX)
        self.assertLess(p.SOFT_TIMEOUT_UNKNOWN, p.SILENT_TIMEOUT_MIN)
        self.assertLess(2 * p.SOFT_TIMEOUT_MAX, p.HARD_TIMEOUT)
        self.assertLess(p.HARD_TIMEOUT, p.OPERATION_TIMEOUT)
        self.assertLess(p.OPERATION_TIMEOUT, 5)

    def test_counts(self) -> None:
        """One bucket can name all holders of a value, and a lookup may ask several buckets' worth."""
        self.assertTrue(p.REPLICATION <= p.MAX_REPLICATION <= p.K)
        self.assertTrue(p.ALPHA <= p.MAX_UNANSWERED < p.K < p.MAX_ASKED)

    def test_few_hundred_nodes(self) -> None:
        """A network of 500 fits the widened buckets: each holds its share of it, a half, a quarter and so on."""
        for depth, width in enumerate(p.BUCKET_WIDTHS):
            self.assertGreater(width * p.K, 500 >> (depth + 1))
