from twisted.trial.unittest import SynchronousTestCase

from dht14.maintenance.turns import OFFERS_AT_ONCE, OFFERS_TO_ONE, OFFERS_TO_ONE_MIN, Turns, offers_to_one
from dht14.records.store import BEGINNING, Page
from tests.fakes import contact

LAST = Page([], None)


class TurnsTests(SynchronousTestCase):
    def turns(self, **marks: bytes) -> Turns:
        self.others_wait = True
        askers = {int(name[1:]): mark for name, mark in marks.items()} or None
        return Turns(10.0, lambda: self.others_wait, askers)

    def test_put_off(self) -> None:
        """A turn ends after its seconds, if others wait; the pauses between pages do not count."""
        turns = self.turns()
        turn = turns.of(contact(1), LAST)
        assert turn is not None
        turn.began(0.0)
        turn.ended(6.0)
        turn.began(100.0)
        self.assertFalse(turns.put_off_if_due(turn, 103.9))
        self.others_wait = False
        self.assertFalse(turns.put_off_if_due(turn, 200.0))
        self.others_wait = True
        self.assertTrue(turns.put_off_if_due(turn, 104.0))
        self.others_wait = False
        self.assertTrue(turns.put_off_if_due(turn, 104.0), "and stays so")
        self.assertIsNone(turns.of(contact(1), LAST))

    def test_goes_on(self) -> None:
        """A contact goes on after the last page that was offered to it wholly."""
        turns = self.turns(_1=BEGINNING)
        turn = turns.of(contact(1), Page([], b"b"))
        assert turn is not None
        turns.page_ended(Page([], b"b"))
        turn.is_put_off = True
        turns.page_ended(Page([], b"c"))
        self.assertEqual(turn.mark, b"b")
        self.assertTrue(turns.are_over)
        later = self.turns(_1=turn.mark, _2=b"c")
        self.assertEqual(later.first_mark, b"b")
        self.assertIsNone(later.of(contact(2), Page([], b"c")))
        self.assertIsNotNone(later.of(contact(1), Page([], b"c")))
        self.assertIsNotNone(later.of(contact(2), LAST))
        self.assertFalse(later.are_over)

    def test_askers(self) -> None:
        """Only those that have asked have a turn; without any, all have one, and none ends the scan."""
        self.assertIsNone(self.turns(_1=BEGINNING).of(contact(2), LAST))
        everybody = self.turns()
        turn = everybody.of(contact(2), LAST)
        assert turn is not None
        turn.is_put_off = True
        self.assertFalse(everybody.are_over)

    def test_offers(self) -> None:
        """However many contacts there are, each has some offers, and all together not many more."""
        self.assertEqual([offers_to_one(1), offers_to_one(1000)], [OFFERS_TO_ONE, OFFERS_TO_ONE_MIN])
        self.assertTrue(all(n * offers_to_one(n) <= OFFERS_AT_ONCE for n in range(1, 61)))
