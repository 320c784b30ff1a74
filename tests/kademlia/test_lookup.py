from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.parameters import SUBNET_FAILURES
from tests.kademlia.lookup_case import OWN, LookupTestCase, contact, contacts, ids
from tests.kademlia.test_subnet_limits import first_byte


class NextContactsTests(LookupTestCase):
    def test_alpha(self) -> None:
        """So many of the nearest are asked at once, each once, and the next as soon as one has answered."""
        lookup = self.lookup(5, 2, 9, 1, 7)
        self.assert_next(lookup, 1, 2)
        self.assert_next(lookup)
        lookup.answered(contact(2))
        self.assert_next(lookup, 5)
        lookup.answered(contact(1))
        self.assert_next(lookup)
        lookup.answered(contact(5))
        self.assert_finished(lookup, 1, 2, 5)
        self.assertEqual(lookup.candidates.asked_count, 3)

    def test_nearer_ones_first(self) -> None:
        """A nearer contact named by an answer is asked before those known earlier."""
        lookup = self.lookup(10, 20, 30, 40)
        self.assert_next(lookup, 10, 20)
        lookup.answered(contact(20), contacts(3, 50))
        self.assert_next(lookup, 3)
        lookup.answered(contact(10), contacts(2, 3))
        self.assert_next(lookup, 2)
        lookup.answered(contact(2))
        lookup.answered(contact(3))
        self.assert_finished(lookup, 2, 3, 10)

    def test_nobody(self) -> None:
        """Without anybody to ask it is over at once, and nothing is known."""
        lookup = self.lookup()
        self.assert_finished(lookup)

    def test_one(self) -> None:
        """With one contact, that one is the nearest."""
        lookup = self.lookup(4)
        self.assert_next(lookup, 4)
        lookup.answered(contact(4), contacts(4))
        self.assert_finished(lookup, 4)

    def test_never_itself(self) -> None:
        """A node neither asks itself nor finds itself, not even where its own id is the target."""
        lookup = Lookup(OWN, OWN, 3, 2)
        lookup.heard_of(contacts(OWN, 1))
        self.assert_next(lookup, 1)
        lookup.answered(contact(1), contacts(OWN))
        self.assert_finished(lookup, 1)

    def test_target_exists(self) -> None:
        """A node whose id is the target is found like any other."""
        lookup = self.lookup(0, 1)
        self.assert_next(lookup, 0, 1)
        lookup.answered(contact(0))
        lookup.answered(contact(1))
        self.assert_finished(lookup, 0, 1)

    def test_first_address_counts(self) -> None:
        """A known contact keeps its address, whatever an answer says."""
        lookup = self.lookup(1)
        self.assert_next(lookup, 1)
        lookup.answered(contact(1), [Contact(1, ("203.0.113.6", 1)), Contact(2, ("192.0.2.2", 2))])
        self.assertEqual(lookup.take_next(), [Contact(2, ("192.0.2.2", 2))])
        lookup.answered(Contact(2, ("192.0.2.2", 2)), [Contact(2, ("203.0.113.6", 1))])
        self.assertEqual(lookup.nearest(), [contact(1), Contact(2, ("192.0.2.2", 2))])

    def test_farther_ones_are_left_alone(self) -> None:
        """No contact is asked beyond the `width` nearest."""
        lookup = self.lookup(*range(1, 20), width=3, alpha=10)
        self.assert_next(lookup, 1, 2, 3)


class SlowContactsTests(LookupTestCase):
    def test_slot_is_freed(self) -> None:
        """A slow contact frees its slot, and the next nearest stands in for it."""
        lookup = self.lookup(1, 2, 3, 4)
        self.assert_next(lookup, 1, 2)
        lookup.slow(contact(1))
        self.assert_next(lookup, 3)
        lookup.answered(contact(2))
        self.assert_next(lookup, 4)
        lookup.answered(contact(3))
        lookup.answered(contact(4))
        self.assert_finished(lookup, 2, 3, 4)

    def test_late_answer_counts(self) -> None:
        """The late answer of a slow contact counts, and the stand-in is not needed."""
        lookup = self.lookup(1, 2, 3, 4)
        self.assert_next(lookup, 1, 2)
        lookup.slow(contact(1))
        lookup.answered(contact(2))
        self.assert_next(lookup, 3, 4)
        lookup.answered(contact(3))
        lookup.answered(contact(1))
        self.assert_finished(lookup, 1, 2, 3)

    def test_answer_of_the_silent_counts(self) -> None:
        """So does one that comes after its sender was taken for dead."""
        lookup = self.lookup(1, 2, width=2)
        self.assert_next(lookup, 1, 2)
        lookup.slow(contact(1))
        lookup.silent(contact(1))
        lookup.answered(contact(1), contacts(3))
        lookup.answered(contact(2))
        self.assert_finished(lookup, 1, 2)
        self.assertEqual(lookup.candidates.unanswering(), [])

    def test_thorough(self) -> None:
        """A thorough lookup waits for a near contact that is slow, until it answers or is silent."""
        for fact in (Lookup.answered, Lookup.silent, Lookup.failed, Lookup.refused):
            lookup = self.lookup(1, 2, 3, 4, thorough=True)
            self.assert_next(lookup, 1, 2)
            lookup.slow(contact(1))
            lookup.answered(contact(2))
            self.assert_next(lookup, 3, 4)
            lookup.answered(contact(3))
            lookup.answered(contact(4))
            self.assert_next(lookup)
            self.assertFalse(lookup.finished)
            fact(lookup, contact(1))
            self.assertEqual((lookup.take_next(), lookup.finished), ([], True))

    def test_standstill(self) -> None:
        """Where more are silent than have answered, a thorough lookup waits until they answer or fail."""
        for fact, nearest in ((Lookup.answered, [1, 3]), (Lookup.failed, [3])):
            lookup = self.lookup(1, 2, 3, alpha=3, thorough=True)
            self.assert_next(lookup, 1, 2, 3)
            lookup.silent(contact(1))
            lookup.silent(contact(2))
            lookup.answered(contact(3))
            self.assert_next(lookup)
            self.assertFalse(lookup.finished)
            fact(lookup, contact(1))
            self.assert_finished(lookup, *nearest)

    def test_awaits_silent(self) -> None:
        """One that waits for the silent does so too, unless as many have answered as are sought; the node
        itself does not count."""
        lookup = self.lookup(1, 2, 3, alpha=3)
        lookup.awaits_silent = True
        self.assert_next(lookup, 1, 2, 3)
        lookup.include_self()
        for silent in (1, 2):
            lookup.silent(contact(silent))
        lookup.answered(contact(3))
        self.assert_next(lookup)
        self.assertFalse(lookup.finished)
        lookup.answered(contact(1))
        self.assertEqual((lookup.take_next(), lookup.finished), ([], True))
        lookup = self.lookup(1, 2, 3, 4, 5, width=2)
        lookup.awaits_silent = True
        self.assert_next(lookup, 1, 2)
        for silent, stand_in in ((1, 3), (2, 4), (3, 5)):
            lookup.silent(contact(silent))
            self.assert_next(lookup, stand_in)
        lookup.answered(contact(4))
        lookup.answered(contact(5))
        self.assert_finished(lookup, 4, 5)

    def test_thorough_no_more(self) -> None:
        """Once a value was seen the lookup need not be thorough any more, and ends."""
        lookup = self.lookup(1, 2, width=1, thorough=True)
        self.assert_next(lookup, 1)
        lookup.slow(contact(1))
        self.assert_next(lookup, 2)
        lookup.answered(contact(2))
        self.assert_next(lookup)
        self.assertFalse(lookup.finished)
        lookup.thorough = False
        self.assert_finished(lookup, 2)

    def test_all_are_slow(self) -> None:
        """If all are slow but answer, the lookup does not run out of calls: late answers make room for
        others."""
        lookup = self.lookup(*range(1, 101), width=50, alpha=3)
        answered = 0
        while chosen := lookup.take_next():
            for one in chosen:
                lookup.slow(one)
                lookup.answered(one)
                answered += 1
        self.assertEqual((answered, lookup.finished), (50, True))

    def test_far_and_slow(self) -> None:
        """A slow contact beyond the nearest does not delay even a thorough lookup."""
        lookup = self.lookup(8, 9, width=2, thorough=True)
        self.assert_next(lookup, 8, 9)
        lookup.slow(contact(9))
        lookup.answered(contact(8), contacts(1))
        self.assert_next(lookup, 1)
        lookup.answered(contact(1))
        self.assert_finished(lookup, 1, 8)

    def test_too_few(self) -> None:
        """While there are fewer than wanted, the slow are waited for, thorough or not."""
        lookup = self.lookup(1, 2)
        self.assert_next(lookup, 1, 2)
        lookup.slow(contact(1))
        lookup.answered(contact(2))
        self.assert_next(lookup)
        self.assertFalse(lookup.finished)
        lookup.silent(contact(1))
        self.assert_finished(lookup, 2)

    def test_all_dead(self) -> None:
        """If no contact answers the lookup ends with none."""
        lookup = self.lookup(1, 2, 3)
        while chosen := lookup.take_next():
            for one in chosen:
                lookup.failed(one)
        self.assert_finished(lookup)
        self.assertEqual(ids(lookup.candidates.unanswering()), [1, 2, 3])


class RefusalsTests(LookupTestCase):
    def test_refused(self) -> None:
        """The next nearest stands in for a contact that refuses; the contacts it named count."""
        lookup = self.lookup(1, 2, 3, width=2)
        self.assert_next(lookup, 1, 2)
        lookup.refused(contact(1), contacts(4))
        self.assert_next(lookup, 3)
        lookup.refused(contact(2))
        self.assert_next(lookup, 4)
        lookup.answered(contact(3))
        lookup.answered(contact(4))
        self.assert_finished(lookup, 3, 4)
        self.assertEqual(
            (
                lookup.candidates.count(CandidateState.REFUSED),
                lookup.candidates.count(CandidateState.ANSWERED),
            ),
            (2, 2),
        )
        self.assertEqual(lookup.candidates.unanswering(), [])

    def test_self_counts(self) -> None:
        """A node that has done it itself is one of those that are enough, where it stands by distance."""
        lookup = Lookup(0, 2, width=2, alpha=2)
        lookup.heard_of(contacts(1, 3, 4))
        self.assertFalse(lookup.candidates.counts_self)
        lookup.include_self()
        self.assertTrue(lookup.candidates.counts_self)
        self.assert_next(lookup, 1)
        lookup.refused(contact(1))
        self.assert_next(lookup, 3)
        lookup.answered(contact(3))
        self.assertEqual((lookup.take_next(), lookup.finished), ([], True))
        self.assertEqual(lookup.candidates.count(CandidateState.ANSWERED), 2)


class EndTests(LookupTestCase):
    def test_conclude(self) -> None:
        """When enough is known no other contact is asked, even if calls are in flight."""
        lookup = self.lookup(1, 2, 3, 4)
        self.assert_next(lookup, 1, 2)
        lookup.answered(contact(1))
        lookup.conclude()
        self.assert_finished(lookup, 1)

    def test_shortlist(self) -> None:
        """The shortlist has who answered or still may, nearest first, at most k of them."""
        lookup = self.lookup(*range(1, 40), alpha=5)
        self.assert_next(lookup, 1, 2, 3)
        lookup.slow(contact(1))
        lookup.failed(contact(2))
        lookup.refused(contact(3))
        self.assertEqual(ids(lookup.shortlist()), [1, *range(4, 23)])

    def test_hedge(self) -> None:
        """The nearest that have not answered are presumed slow: others stand in, late answers count."""
        lookup = self.lookup(1, 2, 3, 4, 5, 6, width=5, alpha=3)
        self.assert_next(lookup, 1, 2, 3)
        lookup.answered(contact(1))
        lookup.hedge(2)
        self.assert_next(lookup, 4, 5, 6)
        lookup.answered(contact(2))
        self.assertEqual(lookup.candidates.count(CandidateState.SLOW), 1)

    def test_spares(self) -> None:
        """Contacts beyond the width are asked as well, and are not among the nearest that were sought."""
        lookup = Lookup(0, OWN, 3, alpha=4, spares=1)
        lookup.heard_of(contacts(1, 2, 3, 4, 5))
        self.assert_next(lookup, 1, 2, 3, 4)
        for number in (1, 2, 3, 4):
            lookup.answered(contact(number))
        self.assert_finished(lookup, 1, 2, 3)

    def test_heard_enough(self) -> None:
        """A thorough lookup waits for the silent to fail while they are more than those that answered,
        unless enough contacts agree."""
        lookup = self.lookup(1, 2, 3, width=1, alpha=3, thorough=True)
        self.assert_next(lookup, 1)
        lookup.silent(contact(1))
        self.assert_next(lookup, 2)
        lookup.silent(contact(2))
        self.assert_next(lookup, 3)
        lookup.answered(contact(3))
        self.assertEqual((lookup.take_next(), lookup.finished), ([], False))
        lookup.heard_enough()
        self.assert_finished(lookup, 3)

    def test_hops_never_shrink(self) -> None:
        """A late answer of one that was known from the start does not make the way shorter."""
        lookup = self.lookup(100, 200, width=2)
        lookup.take_next()
        lookup.answered(contact(100), contacts(50))
        lookup.take_next()
        lookup.answered(contact(50))
        lookup.answered(contact(200))
        self.assertEqual(lookup.hops, 2)

    def test_hops(self) -> None:
        """Hops are the answers in the longest chain that led to an answer."""
        lookup = self.lookup(100, 200, width=2)
        self.assertEqual(lookup.hops, 0)
        lookup.take_next()
        lookup.answered(contact(100), contacts(50))
        lookup.answered(contact(200), contacts(60))
        self.assertEqual(lookup.hops, 1)
        lookup.take_next()
        lookup.answered(contact(50), contacts(25))
        lookup.answered(contact(60))
        lookup.take_next()
        self.assertEqual(lookup.hops, 2)
        lookup.answered(contact(25))
        self.assert_finished(lookup, 25, 50)
        self.assertEqual(lookup.hops, 3)


class GroupTests(SynchronousTestCase):
    """A lookup of a value among the contacts 1, 2, 3 and so on, the nearest in this order; 1 to 5 are the
    group."""

    def begin(self, count: int = 10) -> Lookup:
        lookup = Lookup(0, OWN, 8, alpha=8, purpose=Purpose.VALUE)
        lookup.heard_of(contact(n) for n in range(1, count + 1))
        lookup.take_next()
        return lookup

    def test_majority(self) -> None:
        """Most of the group must have the record, whichever other nodes have it."""
        lookup = self.begin()
        holders: set[int] = set()
        for number, missing in ((6, 3), (2, 2), (7, 2), (8, 2), (5, 1), (4, 0)):
            lookup.answered(contact(number))
            holders.add(number)
            self.assertEqual(lookup.missing_votes(holders), missing, number)

    def test_small_network(self) -> None:
        """Where there are fewer nodes, most of them must."""
        for count, votes in ((1, 1), (2, 2), (3, 2), (4, 3)):
            self.assertEqual(self.begin(count).missing_votes(()), votes)

    def test_unasked(self) -> None:
        """A contact farther than one that was named and not asked does not count."""
        lookup = Lookup(0, OWN, 8, alpha=3, purpose=Purpose.VALUE)
        lookup.heard_of(contacts(2, 3, 4))
        lookup.take_next()
        lookup.answered(contact(2), [contact(1)])
        lookup.answered(contact(3))
        lookup.answered(contact(4))
        self.assertEqual(lookup.missing_votes({2, 3, 4}), 3)
        lookup.take_next()
        self.assertEqual(lookup.missing_votes({2, 3, 4}), 0)

    def test_stand_ins(self) -> None:
        """Two farther ones may stand in for slow members, and no more: of three that agree one is of the
        group."""
        for slow, holders, missing in (
            ((1, 2), {6, 7}, 1),
            ((1, 2), {6, 7, 3}, 0),
            ((1, 2, 3), {6, 7, 8}, 1),
            ((1, 2, 3), {6, 7, 8, 5}, 0),
            ((1,), {6, 7}, 2),
        ):
            lookup = self.begin()
            for number in slow:
                lookup.slow(contact(number))
            for number in holders:
                lookup.answered(contact(number))
            self.assertEqual(lookup.missing_votes(holders), missing, (slow, holders))

    def test_dead(self) -> None:
        """Those taken for dead are no members any more: the next nearest are."""
        lookup = self.begin()
        for number in (1, 2, 3):
            lookup.silent(contact(number))
        for number in (6, 7, 8):
            lookup.answered(contact(number))
        self.assertEqual(lookup.missing_votes({6, 7, 8}), 0)

    def test_not_current(self) -> None:
        """Nodes that have missed writes have no vote, and displace no other."""
        lookup = self.begin()
        for number in (1, 2, 3):
            lookup.answered(contact(number), votes=False)
        for number in (4, 5, 6):
            lookup.answered(contact(number))
        self.assertEqual(lookup.missing_votes({1, 2, 3, 4, 5}), 1)
        self.assertEqual(lookup.missing_votes({4, 5, 6}), 0)

    def test_slow_group(self) -> None:
        """A read does not end while most of the group are slow, however many others have answered."""
        lookup = self.begin(20)
        for number in (1, 2, 3):
            lookup.slow(contact(number))
        for number in range(4, 9):
            lookup.answered(contact(number))
        while chosen := lookup.take_next():
            for one in chosen:
                lookup.answered(one)
        self.assertFalse(lookup.finished)
        lookup.answered(contact(1))
        self.assertEqual((lookup.take_next(), lookup.finished), ([], True))


class BeliefTests(LookupTestCase):
    """Whose word counts."""

    def test_liar(self) -> None:
        """The contacts of a node that named three silent ones are asked last: others fill the width."""
        lookup = self.lookup(100, 200, 300, width=3, alpha=3)
        self.assert_next(lookup, 100, 200, 300)
        lookup.answered(contact(100), contacts(*range(1, 21)))
        self.assert_next(lookup, 1)
        lookup.answered(contact(200))
        lookup.answered(contact(300))
        self.assert_next(lookup, 2, 3)
        for node_id in (1, 2, 3):
            lookup.slow(contact(node_id))
        self.assert_finished(lookup, 100, 200, 300)
        self.assertTrue(lookup.is_suspicious)

    def test_vouched_for(self) -> None:
        """What an honest one names too is asked, however much the liar is doubted."""
        lookup = self.lookup(100, 200, width=2, alpha=2)
        self.assert_next(lookup, 100, 200)
        lookup.answered(contact(100), contacts(1, 2, 3, 9))
        for node_id in (1, 2, 3):
            self.assert_next(lookup, node_id)
            lookup.slow(contact(node_id))
        self.assert_next(lookup)
        lookup.answered(contact(200), contacts(9))
        self.assert_next(lookup, 9)
        lookup.answered(contact(9))
        lookup.answered(contact(1))
        self.assert_finished(lookup, 1, 9)
        self.assertFalse(lookup.is_suspicious)

    def test_thorough(self) -> None:
        """A thorough lookup asks even those, when no other contact is left."""
        lookup = self.lookup(100, width=2, alpha=3, thorough=True)
        lookup.take_next()
        lookup.answered(contact(100), contacts(1, 2, 3, 9))
        self.assert_next(lookup, 1, 2)
        for node_id in (1, 2):
            lookup.slow(contact(node_id))
        self.assert_next(lookup, 3, 9)
        lookup = self.lookup(100, width=2, alpha=2, thorough=True)
        lookup.take_next()
        lookup.answered(contact(100), contacts(1, 2, 3, 9))
        lookup.take_next()
        for node_id in (1, 2):
            lookup.silent(contact(node_id))
        self.assert_next(lookup, 3, 9)

    def test_elsewhere(self) -> None:
        """A contact silent at one address is tried at the other that was named."""
        here, there = contact(1), Contact(1, ("192.0.2.77", 1))
        lookup = self.lookup(100, 200, width=3, alpha=3)
        lookup.take_next()
        lookup.answered(contact(100), [here])
        lookup.answered(contact(200), [there])
        self.assertEqual(lookup.take_next(), [here])
        lookup.silent(here)
        self.assertEqual(lookup.take_next(), [there])
        lookup.failed(here)
        lookup.answered(there)
        self.assertEqual(lookup.nearest()[0], there)

    def test_late_at_the_first(self) -> None:
        """A contact that answers at the first address after all is found there."""
        here, there = contact(1), Contact(1, ("192.0.2.77", 1))
        lookup = self.lookup(1, width=1)
        lookup.heard_of([there])
        self.assertEqual(lookup.take_next(), [here])
        lookup.silent(here)
        self.assertEqual(lookup.take_next(), [there])
        lookup.answered(here)
        lookup.slow(there)
        lookup.failed(there)
        self.assert_finished(lookup, 1)
        self.assertEqual(lookup.nearest(), [here])


class SubnetTests(LookupTestCase):
    """Attackers in one subnet, the 7; all others have private addresses."""

    def attacker(self, node_id: int) -> Contact:
        return Contact(node_id, ("7.0.0.1", 8000))

    def crowded(self, count: int, *honest: int, purpose: Purpose = Purpose.NODES) -> Lookup:
        lookup = Lookup(0, OWN, 3, 3, subnet_of=first_byte, purpose=purpose)
        lookup.heard_of([self.attacker(node_id) for node_id in range(1, count + 1)])
        lookup.heard_of([self.private(node_id) for node_id in honest])
        return lookup

    def private(self, node_id: int) -> Contact:
        return Contact(node_id, ("10.0.0.1", 8000))

    def test_two_count(self) -> None:
        """Of a subnet the two nearest are asked, and count; the rest of the width is for others."""
        lookup = self.crowded(20, 100, 101)
        self.assert_next(lookup, 1, 2, 100)
        for c in (self.attacker(1), self.attacker(2), self.private(100)):
            lookup.answered(c, [self.attacker(node_id) for node_id in range(3, 30)])
        self.assert_finished(lookup, 1, 2, 100)

    def test_stand_in_from_elsewhere(self) -> None:
        """The stand-in of a slow contact is of another subnet."""
        lookup = self.crowded(20, 100, 101, 102)
        self.assert_next(lookup, 1, 2, 100)
        lookup.slow(self.attacker(1))
        self.assert_next(lookup, 101)

    def test_shortlist(self) -> None:
        """The shortlist has two of a subnet, however many crowd out the others."""
        self.assertEqual(ids(self.crowded(50, 100, 101).shortlist()), [1, 2, 100, 101])

    def test_refusals(self) -> None:
        """When four of a subnet have refused or stayed silent no more are asked."""
        lookup = self.crowded(20, 100)
        asked = 0
        while chosen := [c for c in lookup.take_next() if c.node_id < 100]:
            for c in chosen:
                asked += 1
                lookup.refused(c) if c.node_id % 2 else lookup.silent(c)
        self.assertLessEqual(asked, SUBNET_FAILURES + 1)

    def test_store(self) -> None:
        """In a STORE lookup a nearer node of a subnet does not displace one that has accepted."""
        for purpose, chosen in ((Purpose.NODES, [1]), (Purpose.STORE, [])):
            lookup = Lookup(0, OWN, 3, 3, subnet_of=first_byte, purpose=purpose)
            lookup.heard_of([self.attacker(8), self.attacker(9), self.private(100)])
            self.assert_next(lookup, 8, 9, 100)
            lookup.answered(self.attacker(8), [self.attacker(1), self.attacker(2)])
            self.assert_next(lookup, *chosen)
