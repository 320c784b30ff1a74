from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia import parameters as p


class ParametersTests(SynchronousTestCase):
    """How the parameters depend on each other."""

    def test_counts(self) -> None:
        """One bucket can name all holders of a value, and a lookup may ask several buckets' worth."""
        self.assertTrue(p.GROUP <= p.REPLICATION <= p.MAX_REPLICATION <= p.K)
        self.assertTrue(p.ALPHA <= p.MAX_UNANSWERED < p.K < p.MAX_ASKED)
        self.assertTrue(p.SUBNET_IN_SET <= p.SUBNET_IN_BUCKET < p.SUBNET_IN_TABLE)

    def test_quorum(self) -> None:
        """Two quorums of one group have a member in common; stand-ins alone are none."""
        self.assertEqual(p.QUORUM, p.GROUP // 2 + 1)
        self.assertLess(p.STAND_INS, p.QUORUM)
        self.assertLessEqual(p.GROUP + p.STAND_INS, p.REPLICATION)
        self.assertTrue(1 < min(p.LAPSE_WITNESSES, p.FUTURE_WITNESSES, p.VOUCHING_HOLDERS) < p.QUORUM)

    def test_few_hundred_nodes(self) -> None:
        """A network of 500 fits the widened buckets: each holds its share of it, a half, a quarter and so
        on."""
        for depth, width in enumerate(p.BUCKET_WIDTHS):
            self.assertGreater(width * p.K, 500 >> (depth + 1))

    def test_sizes(self) -> None:
        """An inline value leaves room for the rest of its datagram."""
        self.assertTrue(p.MAX_INLINE_VALUE < p.MAX_DATAGRAM < p.MAX_VALUE)


class TimeoutsTests(SynchronousTestCase):
    """A shorter timeout ends before the longer one that relies on it."""

    def test_calls(self) -> None:
        """A contact is slow before it is silent, silent before the call fails, and all that within one
        operation."""
        self.assertTrue(p.SOFT_TIMEOUT_MIN < p.SOFT_TIMEOUT_UNKNOWN < p.SOFT_TIMEOUT_MAX)
        self.assertLess(p.SOFT_TIMEOUT_UNKNOWN, p.SILENT_TIMEOUT_MIN)
        self.assertLess(2 * p.SOFT_TIMEOUT_MAX, p.HARD_TIMEOUT)
        self.assertLess(p.SILENT_TIMEOUT_MAX, p.HARD_TIMEOUT)
        self.assertLess(p.HARD_TIMEOUT, p.OPERATION_TIMEOUT)

    def test_hedges(self) -> None:
        """A read asks others before a contact of unknown distance is slow. Spare calls stay within
        the limits of a lookup."""
        self.assertTrue(p.HEDGE_MIN < p.HEDGE_UNANSWERED < p.SOFT_TIMEOUT_UNKNOWN)
        self.assertLessEqual(p.REPLICATION + p.SPARE_COPIES, p.MAX_UNANSWERED)
        self.assertTrue(p.ALPHA < p.ALPHA_FAR <= p.MAX_UNANSWERED)

    def test_operations(self) -> None:
        """An operation ends before the 5 s that clients are promised; each of its steps leaves time for
        another."""
        self.assertLess(p.OPERATION_TIMEOUT, 5)
        self.assertLess(p.FIRST_READ_TIMEOUT, p.HARD_TIMEOUT)
        self.assertLessEqual(2 * p.SOFT_TIMEOUT_MAX, p.FIRST_READ_TIMEOUT)
        self.assertLessEqual(p.FIRST_READ_TIMEOUT + p.VOUCHED_TIMEOUT, p.OPERATION_TIMEOUT)
        self.assertLessEqual(
            p.PUT_QUEUE_TIMEOUT + p.CLOCK_TIMEOUT + 2 * p.SOFT_TIMEOUT_MAX, p.OPERATION_TIMEOUT
        )

    def test_large_values(self) -> None:
        """A second holder is asked before a read gives up the first; a push is slow before it is silent."""
        self.assertTrue(p.HEDGE_DELAY < p.UNVOUCHED_TIMEOUT < p.VOUCHED_TIMEOUT)
        self.assertTrue(p.PUSH_SLOW < p.PUSH_SILENT < p.HARD_TIMEOUT)

    def test_maintenance(self) -> None:
        """A suspect is pinged after its call has failed; failures of one pass count apart from those of the
        next."""
        self.assertTrue(p.MISS_SPACING < p.HARD_TIMEOUT < p.LIVENESS_INTERVAL < p.SUSPECT_INTERVAL)
        self.assertLess(p.SUSPECT_INTERVAL, p.REPAIR_INTERVAL_MIN)
        self.assertLess(p.REPAIR_INTERVAL_MIN, p.REPUBLISH_INTERVAL)
