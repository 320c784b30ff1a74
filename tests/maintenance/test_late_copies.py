from dht14.maintenance.late_copies import LATE_COPY_TIMEOUT, LATE_COPY_TRIES, LateCopies
from dht14.wire.messages import Offer
from tests.node.holders import HoldersTestCase


class LateCopiesTests(HoldersTestCase):
    """A node has stored a record; the first other one did not answer."""

    def setUp(self) -> None:
        super().setUp()
        self.record_ = self.record()
        self.give(self.record_, self.one)
        self.late = LateCopies(self.one.table, self.copies(self.one), self.network.clock)
        self.holder = self.cluster[1]
        self.late.missed(self.record_, self.holder.contact)

    def run_pass(self) -> None:
        self.finish(self.late.one_pass())

    def test_answers_again(self) -> None:
        """The holder gets its copy, once."""
        self.run_pass()
        self.assertEqual(self.holders(self.record_), [1, self.holder.contact.node_id])
        self.assertFalse(self.late.has_any())
        self.run_pass()
        self.assertEqual(self.asked(Offer), 1)

    def test_suspect(self) -> None:
        """Nothing is sent to a holder that does not answer, until it does."""
        self.one.table.failed(self.holder.contact, self.network.clock.seconds())
        self.run_pass()
        self.assertEqual((self.asked(Offer), self.late.has_any()), (0, True))
        self.one.table.confirmed(self.holder.contact, self.network.clock.seconds(), 0.01)
        self.run_pass()
        self.assertEqual((self.asked(Offer), self.late.has_any()), (1, False))

    def test_unknown(self) -> None:
        """A holder that is not in the table is tried a few times."""
        self.holder.fall_silent()
        for _ in range(LATE_COPY_TRIES):
            self.assertTrue(self.late.has_any())
            self.one.table.confirmed(self.holder.contact, self.network.clock.seconds(), 0.01)
            self.run_pass()
        self.assertFalse(self.late.has_any())

    def test_too_late(self) -> None:
        """A copy waits for a minute."""
        self.one.table.failed(self.holder.contact, self.network.clock.seconds())
        self.network.wait(LATE_COPY_TIMEOUT)
        self.run_pass()
        self.assertFalse(self.late.has_any())

    def test_later_put(self) -> None:
        """The record of a later PUT takes the place of an earlier one."""
        newer = self.record(value=b"newer", later=1)
        self.late.missed(newer, self.holder.contact)
        self.run_pass()
        self.assertEqual(self.holders(newer), [self.holder.contact.node_id])
        self.assertEqual(self.asked(Offer), 1)

    def test_large(self) -> None:
        """Values that fit no datagram are left to republish."""
        late = LateCopies(self.one.table, self.copies(self.one), self.network.clock)
        late.missed(self.record(value=bytes(5_000)), self.holder.contact)
        self.assertFalse(late.has_any())
