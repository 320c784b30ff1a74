import random
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from dht14.security.shares import SCARCE, TIERS, Priority, SharedRateLimiter, SharedSlots, bytes_needed
from dht14.security.subnets import Party, Scope, parties_of

NOW = 1_700_000_000.0
UNKNOWN, PROVEN, CONTACT = Priority


def taken_one_after_another(count: int, size: int, alpha: float) -> list[int]:
    """What each of `count` greedy parties gets that come one after the other."""
    taken: list[int] = []
    for _ in range(count):
        held = 0
        while bytes_needed(held + 1, size, alpha) <= size - sum(taken) - held - 1:
            held += 1
        taken.append(held)
    return taken


class BytesTests(SynchronousTestCase):
    """The dynamic threshold."""

    def test_alone(self) -> None:
        """A lone party gets half of the pool; more of it where alpha is greater, less where it is smaller."""
        held = [taken_one_after_another(1, 10_000, alpha)[0] for alpha in (0.01, 0.5, 1, 4, 100)]
        self.assertEqual(held, [99, 3333, 5000, 7034, 9317])

    def test_never_above_alpha(self) -> None:
        """No party may hold more than alpha times the free bytes, at any fill."""
        for alpha in (0.1, 1.0, 5.0):
            for held in range(1, 10_000, 7):
                self.assertGreaterEqual(alpha * bytes_needed(held, 10_000, alpha) * 1.000001, held)

    def test_continuous(self) -> None:
        """There is no step where bytes become scarce, and a party that holds more needs more free bytes."""
        needed = [bytes_needed(held, 10_000, 1.0) for held in range(10_000)]
        self.assertEqual(needed, sorted(needed))
        self.assertAlmostEqual(needed[5_000], 10_000 * SCARCE)
        self.assertLess(max(b - a for a, b in pairwise(needed[1:])), 30)

    def test_one_after_another(self) -> None:
        """After n greedy parties about one part in 2 n is left, and the next party gets a part of it."""
        for count in (4, 16, 64):
            left = 1_000_000 - sum(taken_one_after_another(count, 1_000_000, 1.0))
            self.assertGreater(left, 1_000_000 / (2 * count + 4))
        self.assertGreater(taken_one_after_another(65, 1_000_000, 1.0)[-1], 100)

    def test_four_parties(self) -> None:
        """The example of `bytes_needed`: what four greedy parties get of a pool, and what is left."""
        taken = taken_one_after_another(4, 100_000, 1.0)
        self.assertEqual([round(held / 1_000) for held in [*taken, 100_000 - sum(taken)]], [50, 19, 9, 5, 16])


class SharedSlotsTests(SynchronousTestCase):
    """Slots, and which member must give one up."""

    def setUp(self) -> None:
        self.slots: SharedSlots[str] = SharedSlots(6, {Scope.HOST: 2, Scope.SUBNET: 4})

    def add(self, *members: str) -> None:
        """Members are named by host and subnet: "a1" is at host a1 of subnet a."""
        for member in members:
            self.slots.add(member, self.parties(member))

    def parties(self, member: str) -> tuple[Party, ...]:
        return (Scope.HOST, member[:2].encode()), (Scope.SUBNET, member[:1].encode())

    def test_shares(self) -> None:
        """A host and its subnet each have a share; a member that is removed gives its slot back."""
        self.add("a1x", "a1y")
        self.assertFalse(self.slots.has_share_left(self.parties("a1z")))
        self.assertTrue(self.slots.has_share_left(self.parties("a2")))
        self.add("a2", "a3")
        self.assertFalse(self.slots.has_share_left(self.parties("a4")))
        self.assertTrue(self.slots.has_share_left(self.parties("b1")))
        self.slots.remove("a1x")
        self.slots.remove("a1x")
        self.assertTrue(self.slots.has_share_left(self.parties("a1z")))
        self.assertEqual((len(self.slots), list(self.slots)), (3, ["a1y", "a2", "a3"]))

    def test_weight(self) -> None:
        """The weight of parties is that of the one with most of its share."""
        self.add("a1", "a2", "a3")
        self.assertEqual(self.slots.weight(self.parties("a1")), 3 / 4)
        self.assertEqual(self.slots.weight(self.parties("b1")), 0)

    def test_nothing_is_left(self) -> None:
        """Without members nothing is remembered."""
        self.add("a1", "b1", "b2")
        for member in list(self.slots):
            self.slots.remove(member)
        self.assertEqual((self.slots._held, self.slots._parties), ({}, {}))

    def test_heaviest_gives_way(self) -> None:
        """The oldest member of the party with the greatest part of its share goes, unless the newcomer's
        party is heavier."""
        self.add("b1", "a1", "a2", "c1", "a3", "b2")
        self.assertTrue(self.slots.is_full)
        self.assertEqual(self.slots.to_evict(self.parties("d1"), self.slots), "a1")
        self.assertEqual(self.slots.to_evict(self.parties("a4"), self.slots), "a1")
        self.assertIsNone(self.slots.to_evict(self.parties("a4"), ["b1", "c1"]))
        self.assertIsNone(self.slots.to_evict(self.parties("d1"), []))

    def test_spared(self) -> None:
        """The discount of a member's weight does not count."""
        self.add("a1", "a2", "a3", "b1")
        discount = {"a1": 0.2, "a2": 0.1}
        chosen = self.slots.to_evict((), self.slots, lambda member: discount.get(member, 0.3))
        self.assertEqual(chosen, "a2")


class RateTests(SynchronousTestCase):
    """A shared rate."""

    def setUp(self) -> None:
        self.rate = SharedRateLimiter(100, {Scope.SUBNET: 10, Scope.PROVIDER: 20}, parties_of, NOW)

    def take(self, count: int, priority: Priority, now: float = NOW, host: str = "198.{}.1.1") -> int:
        return sum(self.rate.take(host.format(n % 200), priority, now) for n in range(count))

    def test_order(self) -> None:
        """Unknown senders get the part for everybody. Then proven senders still have their part, and contacts
        theirs."""
        self.assertEqual(self.take(500, UNKNOWN), 100 * TIERS[UNKNOWN] + 2)
        self.assertEqual(self.take(500, PROVEN), 100 * TIERS[PROVEN] - 1)
        self.assertEqual(self.take(500, CONTACT), 100 * TIERS[CONTACT] - 1)
        self.assertEqual(self.take(500, CONTACT), 0)

    def test_parts(self) -> None:
        """Each kind of sender has its own part beside those of the kinds below it; and one of each part above
        it, which would overflow."""
        for priority, taken in ((UNKNOWN, 50 + 2), (PROVEN, 75 + 1), (CONTACT, 100)):
            self.setUp()
            self.assertEqual(self.take(500, priority), taken)

    def test_known_leave_unknown_theirs(self) -> None:
        """Known senders first take the part for known senders."""
        self.assertEqual(self.take(50, CONTACT), 50)
        self.assertEqual(self.take(500, UNKNOWN), 50)

    def test_overflow(self) -> None:
        """Nothing is wasted: over time unknown senders get what others do not need, and never their
        reserve."""
        taken = sum(self.take(10, UNKNOWN, NOW + n / 100) for n in range(1_000))
        self.assertGreater(taken, 940)
        self.assertGreaterEqual(self.take(500, CONTACT, NOW + 10), 48)

    def test_subnets(self) -> None:
        """A subnet has its share, with bursts of twice that, and a provider has another; private hosts have
        none."""
        self.assertEqual(self.take(500, CONTACT, host="198.51.100.{}"), 20)
        self.assertEqual(self.take(500, CONTACT, host="2001:db8:{}::1"), 40)
        self.setUp()
        self.assertEqual(self.take(500, CONTACT, host="10.0.0.{}"), 100)

    def test_nothing_remembered_of_the_refused(self) -> None:
        """A flood from ever new subnets does not make any share forgotten."""
        self.take(500, UNKNOWN, host="198.51.100.{}")
        self.take(500, UNKNOWN)
        before = len(self.rate._limiters[Scope.SUBNET])
        rng = random.Random(1)
        for _ in range(1_000):
            self.rate.take(f"{rng.randrange(11, 100)}.{rng.randrange(256)}.1.1", UNKNOWN, NOW)
        self.assertEqual(len(self.rate._limiters[Scope.SUBNET]), before)
