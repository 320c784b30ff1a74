from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.candidates import Candidates
from dht14.kademlia.contact import Contact
from tests.kademlia.lookup_case import OWN, contact, contacts, ids
from tests.kademlia.test_subnet_limits import first_byte


class CandidatesTests(SynchronousTestCase):
    """The candidates of a lookup for id 0: the distance of an id is the id."""

    def setUp(self) -> None:
        self.candidates = Candidates(0, OWN, first_byte, set())

    def begin(self, *node_ids: int) -> None:
        self.candidates.begin_with(contacts(*node_ids))

    def ask(self, *node_ids: int) -> None:
        for one in contacts(*node_ids):
            self.candidates.asked(self.candidates.of(one))

    def counts(self) -> tuple[int, int, int]:
        return self.candidates.asked_count, self.candidates.in_flight, self.candidates.unanswered

    def test_ordered(self) -> None:
        """Candidates are kept nearest first, each once, without this node."""
        self.begin(5, 2, 9, 5, OWN, 1)
        self.assertEqual([distance for distance, _ in self.candidates.ordered], [1, 2, 5, 9])
        self.assertEqual(ids(self.candidates.in_states(CandidateState.UNASKED)), [1, 2, 5, 9])

    def test_begin_with(self) -> None:
        """It makes no difference in which order, and in how many parts, the first contacts come."""
        for parts in ([[1, 2, 5, 9]], [[9, 5], [2, 1]], [[2, 9], [1, 5, 9]], [[1, OWN, 2], [5], [9]]):
            self.setUp()
            for part in parts:
                self.begin(*part)
            self.assertEqual(ids(self.candidates.in_states(CandidateState.UNASKED)), [1, 2, 5, 9])

    def test_other_address(self) -> None:
        """A candidate counts in the subnet of the address at which it is called."""
        here, there = Contact(1, ("7.0.0.1", 1)), Contact(1, ("8.0.0.1", 1))
        for each in (here, there):
            self.candidates.heard_of(each)
        candidate = self.candidates.of(here)
        self.candidates.asked(candidate)
        self.assertEqual(candidate.subnet, first_byte("7.0.0.1"))
        self.candidates.failed(here)
        self.assertEqual((candidate.contact, candidate.subnet), (there, first_byte("8.0.0.1")))

    def test_self(self) -> None:
        """This node is a candidate only if it is included; including it again replaces its state."""
        self.begin(1)
        self.assertFalse(self.candidates.counts_self)
        for state in (CandidateState.OUTDATED, CandidateState.ANSWERED):
            self.candidates.include_self(state, votes=True)
            self.assertTrue(self.candidates.counts_self)
            self.assertEqual(ids(self.candidates.in_states(state)), [OWN])
        self.assertEqual(len(self.candidates.ordered), 2)

    def test_counts(self) -> None:
        """Calls in flight and without an answer are counted, whatever becomes of them."""
        self.begin(1, 2, 3, 4)
        self.ask(1, 2, 3, 4)
        self.assertEqual(self.counts(), (4, 4, 4))
        self.candidates.slow(contact(1))
        self.assertEqual(self.counts(), (4, 3, 4))
        self.candidates.silent(contact(2))
        self.assertEqual(self.counts(), (4, 2, 3))
        self.candidates.answered(contact(1), (), votes=True)
        self.candidates.declined(contact(3), CandidateState.REFUSED, ())
        self.candidates.failed(contact(4))
        self.candidates.failed(contact(2))
        self.assertEqual(self.counts(), (4, 0, 0))
        self.assertEqual(ids(self.candidates.unanswering()), [2, 4])

    def test_subnets(self) -> None:
        """Of each subnet the failures are counted, and the contacts that may yet hold something."""
        one, two = (Contact(node_id, (f"7.0.0.{node_id}", 1)) for node_id in (1, 2))
        for each in (one, two):
            self.candidates.heard_of(each)
            self.candidates.asked(self.candidates.of(each))
        subnet = first_byte("7.0.0.1")
        assert subnet is not None
        self.assertEqual((self.candidates.failures[subnet], self.candidates.reserved[subnet]), (0, 2))
        self.candidates.declined(one, CandidateState.REFUSED, ())
        self.candidates.silent(two)
        self.assertEqual((self.candidates.failures[subnet], self.candidates.reserved[subnet]), (2, 1))
        self.candidates.failed(two)
        self.assertEqual((self.candidates.failures[subnet], self.candidates.reserved[subnet]), (2, 0))
