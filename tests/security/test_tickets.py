import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.security.tickets import (
    MAX_PROMISED_BYTES,
    MAX_TICKETS,
    MAX_TICKETS_PER_PEER,
    TICKET_BYTES,
    TICKET_LIFETIME,
    Tickets,
)

ALICE, BOB = bytes([1]) * 32, bytes([2]) * 32
NOW = 1_700_000_000.0


class TicketsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tickets: Tickets[str] = Tickets(random.Random(1))

    def test_once(self) -> None:
        """A ticket gives its transfer once."""
        ticket = self.tickets.issue(ALICE, "transfer", 100, NOW)
        self.assertEqual(len(ticket), TICKET_BYTES)
        self.assertEqual(self.tickets.promised_bytes, 100)
        self.assertEqual(self.tickets.redeem(ticket, ALICE, NOW), "transfer")
        self.assertIsNone(self.tickets.redeem(ticket, ALICE, NOW))
        self.assertEqual((len(self.tickets), self.tickets.promised_bytes), (0, 0))

    def test_unknown(self) -> None:
        """A ticket that was never given out is invalid."""
        self.tickets.issue(ALICE, "transfer", 100, NOW)
        self.assertIsNone(self.tickets.redeem(bytes(TICKET_BYTES), ALICE, NOW))

    def test_another_peer(self) -> None:
        """It is invalid for another peer, and stays valid for its own peer."""
        ticket = self.tickets.issue(ALICE, "transfer", 100, NOW)
        self.assertIsNone(self.tickets.redeem(ticket, BOB, NOW))
        self.assertEqual(self.tickets.redeem(ticket, ALICE, NOW), "transfer")

    def test_too_late(self) -> None:
        """After its lifetime it is invalid."""
        early, late = (self.tickets.issue(ALICE, name, 100, NOW) for name in ("early", "late"))
        self.assertEqual(self.tickets.redeem(early, ALICE, NOW + TICKET_LIFETIME - 0.001), "early")
        self.assertIsNone(self.tickets.redeem(late, ALICE, NOW + TICKET_LIFETIME))

    def test_forgotten(self) -> None:
        """Expired tickets go when the next one is given out."""
        self.tickets.issue(ALICE, "transfer", 100, NOW)
        self.tickets.issue(BOB, "transfer", 7, NOW + TICKET_LIFETIME)
        self.assertEqual((len(self.tickets), self.tickets.promised_bytes), (1, 7))

    def test_per_peer(self) -> None:
        """A peer that asks for too many loses its own oldest ones; others lose none."""
        bobs = self.tickets.issue(BOB, "Bob's", 1, NOW)
        alices = [self.tickets.issue(ALICE, "Alice's", 1, NOW) for _ in range(MAX_TICKETS_PER_PEER + 1)]
        self.assertIsNone(self.tickets.redeem(alices[0], ALICE, NOW))
        self.assertEqual(self.tickets.redeem(alices[1], ALICE, NOW), "Alice's")
        self.assertEqual(self.tickets.redeem(bobs, BOB, NOW), "Bob's")

    def test_in_all(self) -> None:
        """There is a limit for all peers together; the newest ticket replaces the oldest."""
        peers = [number.to_bytes(32, "big") for number in range(MAX_TICKETS + 1)]
        tickets = [self.tickets.issue(peer, "transfer", 1, NOW) for peer in peers]
        self.assertEqual(len(self.tickets), MAX_TICKETS)
        self.assertIsNone(self.tickets.redeem(tickets[0], peers[0], NOW))
        self.assertEqual(self.tickets.redeem(tickets[-1], peers[-1], NOW), "transfer")

    def test_few_that_ask_on(self) -> None:
        """A few peers that ask again and again lose their own tickets, and others keep theirs."""
        bobs = self.tickets.issue(BOB, "Bob's", 60_000, NOW)
        for number in range(100_000):
            self.tickets.issue((number % 20).to_bytes(32, "big"), "more", 60_000, NOW)
        self.assertLessEqual(self.tickets.promised_bytes, MAX_PROMISED_BYTES)
        self.assertEqual(self.tickets.redeem(bobs, BOB, NOW), "Bob's")

    def test_bytes_in_all(self) -> None:
        """The bytes of all transfers together have a limit."""
        size = MAX_PROMISED_BYTES // 4
        peers = [bytes([number]) * 32 for number in range(6)]
        for peer in peers:
            self.tickets.issue(peer, "transfer", size, NOW)
        self.assertEqual((len(self.tickets), self.tickets.promised_bytes), (4, MAX_PROMISED_BYTES))
