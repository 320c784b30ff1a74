from twisted.trial.unittest import SynchronousTestCase

from dht14.node.lease_search import MAX_ASKED, LeaseAnswer, LeaseRenewal
from tests.fakes import contact

KEY, OWN_ID = 0, 1 << 200


class LeaseRenewalTests(SynchronousTestCase):
    """Whom a node asks for leases of a key, nearest first."""

    def setUp(self) -> None:
        self.candidates = {number: contact(number, number) for number in range(10, 40)}
        self.renewal = LeaseRenewal(KEY, 2, OWN_ID, self.candidates)

    def answers(self, node_id: int, answer: LeaseAnswer) -> None:
        self.renewal.asked(contact(node_id, node_id))
        self.renewal.answered(contact(node_id, node_id), answer)

    def nearest_left(self, *named: int) -> int | None:
        found = self.renewal.nearest_left({number: contact(number, number) for number in named})
        return None if found is None else found.node_id

    def test_order(self) -> None:
        """The nearest node comes first, also one that another node has named, and each once; never this node
        itself."""
        self.assertEqual(self.nearest_left(), 10)
        self.assertEqual(self.nearest_left(5), 5)
        self.renewal.asked(contact(5, 5))
        self.assertEqual(self.nearest_left(5), 10)
        self.assertIsNone(LeaseRenewal(KEY, 2, OWN_ID, {OWN_ID: contact(OWN_ID, 1)}).nearest_left({}))

    def test_bounded(self) -> None:
        """The number of nodes that are asked is bounded."""
        for _ in range(MAX_ASKED):
            node_id = self.nearest_left()
            assert node_id is not None
            self.answers(node_id, LeaseAnswer.NO_HOLDER)
        self.assertIsNone(self.nearest_left())
        self.assertEqual(self.renewal.asked_count, MAX_ASKED)

    def test_wanted(self) -> None:
        """Nodes are wanted until there are enough leases, and then only nearer ones."""
        self.answers(10, LeaseAnswer.GRANTED)
        self.assertTrue(self.renewal.is_wanted(contact(39, 1)))
        self.answers(12, LeaseAnswer.GRANTED)
        self.assertFalse(self.renewal.is_wanted(contact(39, 1)))
        self.assertTrue(self.renewal.is_wanted(contact(11, 1)))

    def test_stand_in(self) -> None:
        """A lease of a node behind the nearest holders does not count, behind silent ones it does."""
        for declines, expected in ((LeaseAnswer.DECLINED, 1), (LeaseAnswer.NO_HOLDER, 2)):
            self.setUp()
            self.answers(10, declines)
            self.answers(11, LeaseAnswer.GRANTED)
            self.answers(12, LeaseAnswer.GRANTED)
            self.assertEqual(self.renewal.granted_by_nearest, expected)
