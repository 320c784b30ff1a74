import random
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import ID_BITS, ID_SPACE, random_id, random_id_sharing, shared_prefix
from dht14.kademlia.lost import MAX_TRIED
from dht14.kademlia.parameters import (
    BUCKET_WIDTHS,
    MISSES_TO_DROP,
    OUTAGE_CALLS,
    PROBES_IN_DOUBT,
    SUBNET_IN_BUCKET,
    SUBNET_IN_TABLE,
    SUSPECT_INTERVAL,
    SUSPECTS_AT_ONCE,
    K,
)
from dht14.kademlia.routing_table import RoutingTable, bucket_capacity
from tests.kademlia.test_subnet_limits import first_byte

HERE, ELSEWHERE = ("192.0.2.1", 8000), ("203.0.113.6", 8000)

OWN = random_id(random.Random("own"))

HOUR = 3600.0


def contact(node_id: int, address: Address = HERE) -> Contact:
    return Contact(node_id, address)


def ids(contacts: Iterable[Contact]) -> list[int]:
    return [one.node_id for one in contacts]


class TableTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = RoutingTable(OWN)
        self.rng = random.Random(1)

    def tearDown(self) -> None:
        self.table.check_invariants()

    def confirm(self, *node_ids: int, now: float = 0.0) -> None:
        for node_id in node_ids:
            self.table.confirmed(contact(node_id), now, 0.1)

    def fail(self, node_id: int, now: float, times: int = 1) -> None:  # type: ignore[override]
        for turn in range(times):
            self.table.failed(contact(node_id), now + turn)

    def at_depth(self, depth: int, count: int) -> list[int]:
        """Distinct ids that share exactly `depth` bits with the own one."""
        found: dict[int, None] = {}
        while len(found) < count:
            found[random_id_sharing(OWN, depth, self.rng)] = None
        return list(found)


class BucketsTests(TableTestCase):
    def test_usual_rtt(self) -> None:
        """The usual round trip is the median over the contacts; single long ones hardly change it."""
        some = [contact(node_id) for node_id in range(1, 6)]
        self.assertEqual(self.table.usual_rtt(some), 0.0)
        for one in some:
            self.table.confirmed(one, 0.0, one.node_id / 100)
        self.assertEqual(self.table.usual_rtt(some), 0.03)
        self.table.confirmed(contact(3), 0.0, 3.0)
        self.assertLess(self.table.usual_rtt(some), 0.045)
        self.table.confirmed(contact(3), 0.0, 0.02)
        self.assertEqual(self.table.usual_rtt(some), 0.02)

    def test_self(self) -> None:
        """A node is no contact of its own."""
        self.confirm(OWN)
        self.fail(OWN, 1)
        self.assertEqual((len(self.table), OWN in self.table), (0, False))
        self.assertFalse(self.table.wants(contact(OWN)))

    def test_enters_once(self) -> None:
        """A contact that answers enters the table, once however often it answers."""
        self.confirm(1, 2, 1)
        self.assertEqual((len(self.table), 1 in self.table, 3 in self.table), (2, True, False))
        self.assertEqual(self.table.changes, 2)

    def test_capacities(self) -> None:
        """The farthest ranges are wide; from the fifth on a bucket holds K."""
        self.assertEqual(
            [bucket_capacity(depth) for depth in range(6)], [K * w for w in (*BUCKET_WIDTHS, 1, 1)]
        )
        self.assertEqual(bucket_capacity(255), K)

    def test_range_is_full(self) -> None:
        """Each range holds what it may hold, however many nodes of it answer, and turns no other range
        away."""
        for depth in range(8):
            self.confirm(*self.at_depth(depth, bucket_capacity(depth) + 2 * K))
        counts = [0] * 8
        for one in self.table.contacts():
            counts[shared_prefix(OWN, one.node_id)] += 1
        self.assertEqual(counts, [bucket_capacity(depth) for depth in range(8)])

    def test_neighbours_first(self) -> None:
        """However many nodes answered before, the nearest of all are known: the own branch splits on."""
        crowd = [random_id(self.rng) for _ in range(5000)]
        self.confirm(*crowd)
        nearest = sorted(crowd, key=OWN.__xor__)[:K]
        self.assertEqual(ids(self.table.closest(OWN, K)), nearest)

    def test_crowd_at_our_door(self) -> None:
        """Ids made up to share long prefixes with ours fill their own ranges only, down to the last bit."""
        for depth in range(255, 200, -1):
            self.confirm(*self.at_depth(depth, min(1 << (255 - depth), 2 * K)))
            self.table.check_invariants()
        self.confirm(*self.at_depth(0, 100))
        self.assertEqual(sum(not one.node_id ^ OWN < 1 << 255 for one in self.table.contacts()), 100)
        self.assertEqual(ids(self.table.closest(OWN, 1)), [OWN ^ 1])

    def test_crowd_before_the_first_split(self) -> None:
        """A bucket that is split many times at once keeps as many as each part may hold, the rest as
        spares."""
        crowd = self.at_depth(120, bucket_capacity(0))
        self.confirm(*crowd)
        self.table.check_invariants()
        self.confirm(*self.at_depth(121, 1))
        self.assertEqual(len(self.table), K + 1)
        for node_id in crowd[:K]:
            self.assertIn(node_id, self.table)
            self.fail(node_id, 1)
            self.confirm(*self.table_ids())
        self.assertEqual(len(self.table), K + 1)

    def table_ids(self) -> list[int]:
        return ids(self.table.contacts())

    def test_suspects_are_no_replacements(self) -> None:
        """When a split leaves a bucket too full, those who miss calls are dropped, and K others wait as
        spares."""
        crowd = self.at_depth(120, bucket_capacity(0))
        self.confirm(*crowd)
        for node_id in crowd[-5:]:
            self.fail(node_id, 1)
        self.confirm(*self.at_depth(121, 1))
        self.table.check_invariants()
        self.assertEqual(len(self.table), K + 1)

    def test_holds(self) -> None:
        """A contact is held at the address where it answered, and at no other."""
        self.confirm(1)
        self.assertTrue(self.table.holds(contact(1)))
        self.assertFalse(self.table.holds(contact(1, ELSEWHERE)) or self.table.holds(contact(2)))

    def test_wants(self) -> None:
        """Wanted are those who would enter, and suspects, whose answer would clear them."""
        full = self.at_depth(0, bucket_capacity(0))
        self.confirm(*self.at_depth(1, 1), *full)
        (known, newcomer), (near,) = (full[0], *self.at_depth(0, 1)), self.at_depth(3, 1)
        self.assertTrue(self.table.wants(contact(near)))
        self.assertFalse(self.table.wants(contact(newcomer)))
        self.assertFalse(self.table.wants(contact(known)))
        self.assertEqual([self.table.is_settled(i) for i in (known, newcomer, near)], [True, False, False])
        self.fail(known, 5)
        self.assertFalse(self.table.is_settled(known))
        self.assertTrue(self.table.wants(contact(known)))


class FailuresTests(TableTestCase):
    def test_on_suspect(self) -> None:
        """The first failure of a contact that was responsive is reported, and no other one."""
        reports: list[int] = []
        self.table.on_suspect = lambda: reports.append(len(self.table))
        self.confirm(1, 2)
        self.table.failed(contact(1, ELSEWHERE), 10)
        self.fail(3, 10)
        self.assertEqual(reports, [])
        self.fail(1, 10, 2)
        self.assertEqual(reports, [2])
        self.confirm(1)
        self.fail(1, 20)
        self.assertEqual(reports, [2, 2])

    def test_leaves(self) -> None:
        """Without a replacement a contact leaves after MISSES_TO_DROP misses, counted as a change."""
        self.confirm(1, 2)
        self.fail(1, 10, MISSES_TO_DROP - 1)
        self.assertIn(1, self.table)
        self.assertTrue(self.table.is_suspect(1))
        self.fail(1, 20)
        self.assertNotIn(1, self.table)
        self.assertFalse(self.table.is_suspect(1))
        self.assertEqual(self.table.changes, 3)

    def test_replaced(self) -> None:
        """With a replacement one failure is enough, and the replacement becomes a contact."""
        full = self.at_depth(0, bucket_capacity(0))
        (replacement,) = set(self.at_depth(0, 1)) - set(full)
        self.confirm(*self.at_depth(1, 1), *full, replacement)
        self.assertNotIn(replacement, self.table)
        self.fail(full[7], 10)
        self.assertNotIn(full[7], self.table)
        self.assertEqual(ids(self.table.closest(replacement, 1)), [replacement])

    def test_suspects(self) -> None:
        """Whose last call failed is a suspect until it answers; others do not hear of it meanwhile."""
        self.confirm(1, 2, 3)
        self.fail(2, 10)
        self.assertEqual(ids(self.table.closest(2, 3)), [2, 3, 1])
        self.assertEqual(ids(self.table.closest(2, 3, live_only=True)), [3, 1])
        self.assertEqual(ids(self.table.closest(2, 1, live_only=True)), [3])
        self.confirm(2)
        self.assertEqual(ids(self.table.closest(2, 3, live_only=True)), [2, 3, 1])

    def test_live_contact(self) -> None:
        """There is a live contact while one of them answered our last call to it."""
        self.assertFalse(self.table.has_live_contact())
        self.confirm(1, 2)
        self.fail(1, 10)
        self.assertTrue(self.table.has_live_contact())
        self.fail(2, 10)
        self.assertFalse(self.table.has_live_contact())

    def test_address_made_up(self) -> None:
        """A call that fails at an invented address says nothing about the contact of that id."""
        self.confirm(1)
        for now in range(2 * MISSES_TO_DROP):
            self.table.failed(contact(1, ELSEWHERE), float(now))
        self.assertEqual(self.table.closest(1, 1, live_only=True), [contact(1)])

    def test_id_claimed(self) -> None:
        """A node that uses the id of a responsive contact neither replaces it nor keeps it alive once it is
        dead."""
        self.confirm(1, 2)
        self.table.confirmed(contact(1, ELSEWHERE), 100.0, 0.1)
        self.assertEqual(self.table.closest(1, 1), [contact(1)])
        self.confirm(2, now=50.0)
        self.assertEqual(self.table.contacts_to_ping(200.0, HOUR), [contact(1)])

    def test_moved(self) -> None:
        """A contact that answers at another address after it failed at the first is known at the new one."""
        self.confirm(1)
        self.fail(1, 10)
        self.table.confirmed(contact(1, ELSEWHERE), 11.0, 0.1)
        self.assertEqual(self.table.closest(1, 1, live_only=True), [contact(1, ELSEWHERE)])

    def test_own_outage(self) -> None:
        """While most calls fail no contact leaves, for days: this node itself is cut off."""
        crowd = [random_id(self.rng) for _ in range(100)]
        self.confirm(*crowd)
        for turn in range(1000):
            self.fail(crowd[turn % 100], 100.0 * turn)
        self.assertEqual(len(self.table), 100)
        self.assertFalse(self.table.has_live_contact())

    def test_after_the_outage(self) -> None:
        """Once others answer again, those who do not leave as ever."""
        crowd = [random_id(self.rng) for _ in range(100)]
        self.confirm(*crowd)
        for turn in range(100 * MISSES_TO_DROP):
            self.fail(crowd[turn % 100], 100.0 * turn)
        self.confirm(*crowd[:OUTAGE_CALLS])
        for node_id in crowd[OUTAGE_CALLS:]:
            self.fail(node_id, 1e6)
        self.assertEqual(sorted(ids(self.table.contacts())), sorted(crowd[:OUTAGE_CALLS]))

    def test_few_deaths(self) -> None:
        """The death of a third of the contacts is no outage: they leave one and all."""
        crowd = [random_id(self.rng) for _ in range(99)]
        self.confirm(*crowd)
        for turn in range(MISSES_TO_DROP):
            for number, node_id in enumerate(crowd):
                if number % 3:
                    self.confirm(node_id, now=100.0 * turn)
                else:
                    self.fail(node_id, 100.0 * turn)
        self.assertEqual(len(self.table), 66)


class ClosestTests(TableTestCase):
    def test_empty(self) -> None:
        """An empty table has no contacts."""
        self.assertEqual(self.table.closest(5, K), [])
        self.assertEqual(self.table.closest(OWN, 1, live_only=True), [])

    def test_more_than_there_are(self) -> None:
        """Asked for more than there are, it names all, nearest first."""
        self.confirm(8, 1, 4)
        self.assertEqual(ids(self.table.closest(0, 1000)), [1, 4, 8])
        self.assertEqual(ids(self.table.closest(5, 1000)), [4, 1, 8])

    def test_the_target_itself(self) -> None:
        """A contact whose id is the target is the nearest of all."""
        self.confirm(7, 6, 5)
        self.assertEqual(ids(self.table.closest(6, 2)), [6, 7])

    def test_exact(self) -> None:
        """The result equals sorting all contacts, at any count, for crowds of every shape."""
        for shape in range(30):
            table = RoutingTable(OWN)
            base = random_id(self.rng)
            for _ in range(self.rng.randint(1, 400)):
                node_id = random_id_sharing(base, self.rng.randint(0, 8 * shape), self.rng)
                table.confirmed(contact(node_id), 0.0, 0.1)
            everybody = ids(table.contacts())
            for _ in range(20):
                target = random_id_sharing(base, self.rng.randint(0, 255), self.rng)
                count = self.rng.randint(1, 50)
                self.assertEqual(
                    ids(table.closest(target, count)), sorted(everybody, key=target.__xor__)[:count]
                )


class UpkeepTests(TableTestCase):
    def due(self, now: float, spacing: float = HOUR) -> list[int]:
        return ids(self.table.contacts_to_ping(now, spacing))

    def test_ping(self) -> None:
        """To be pinged is the one whose last answer is oldest, in whatever bucket, and one of the nearest."""
        self.assertEqual(self.due(0.0), [])
        self.confirm(*(random_id(self.rng) for _ in range(500)), now=50.0)
        (oldest,) = self.at_depth(2, 1)
        self.confirm(oldest, now=10.0)
        near, due = self.due(100.0)
        self.assertEqual(due, oldest)
        self.assertIn(near, ids(self.table.closest(self.table.own_id, K)))

    def test_dispute(self) -> None:
        """Those near a key in dispute are pinged next, if they have not answered for a while."""
        self.confirm(*range(200), now=50.0)
        self.confirm(100, now=90.0)
        self.table.disputed(100, 100.0)
        near = sorted(range(200), key=(100).__xor__)[: 2 * K]
        due = self.due(100.0)
        self.assertEqual([node_id for node_id in near if node_id not in due], [100])
        self.assertLess(len(self.due(105.0)), 5)

    def test_everybody_in_turn(self) -> None:
        """With an answer to each ping, all contacts are pinged in turn."""
        self.confirm(*range(30))
        pinged = []
        for now in range(100, 130):
            pinged += (due := self.due(now))
            self.confirm(*due, now=now)
        self.assertEqual(set(pinged), set(range(30)))

    def test_suspects(self) -> None:
        """Suspects are left alone for a while, then pinged besides, and do not keep others from their
        turn."""
        self.confirm(1, now=0.0)
        self.confirm(2, 3, now=5.0)
        self.fail(1, 20.0)
        self.assertEqual(self.due(20.0 + SUSPECT_INTERVAL / 2)[0], 2)
        self.assertEqual(self.due(20.0 + SUSPECT_INTERVAL)[:2], [1, 2])

    def test_many_suspects(self) -> None:
        """So many suspects are pinged at once, and all of them in turn."""
        crowd = [random_id(self.rng) for _ in range(50)]
        self.confirm(*crowd)
        for node_id in crowd:
            self.fail(node_id, 20.0)
        pinged: list[int] = []
        for turn in range(7):
            due = self.due(40.0 + turn)
            self.assertLessEqual(len(due), SUSPECTS_AT_ONCE)
            for node_id in due:
                self.fail(node_id, 40.0 + turn)
            pinged += due
        self.assertEqual(sorted(pinged), sorted(crowd))

    def test_saved(self) -> None:
        """Worth keeping are all contacts: those well before those that miss, seen last before seen long
        ago."""
        for node_id in range(1, 5):
            self.confirm(node_id, now=float(node_id))
        self.fail(4, 10)
        self.assertEqual(ids(self.table.contacts()), [3, 2, 1, 4])

    def test_stale(self) -> None:
        """Each range that no lookup went through has one random id to look up, the nearest our own
        besides."""
        for depth in range(6):
            self.confirm(*self.at_depth(depth, bucket_capacity(depth)))
        stale = self.table.stale_targets(1000.0, 900.0, self.rng)
        self.assertEqual([shared_prefix(OWN, target) for target in stale], [0, 1, 2, 3, 4, 5, ID_BITS])
        self.table.looked_up(stale[2], 1000.0)
        self.table.looked_up(OWN, 1000.0)
        left = self.table.stale_targets(1100.0, 900.0, self.rng)
        self.assertEqual([shared_prefix(OWN, target) for target in left], [0, 1, 3, 4])
        self.assertEqual(len(self.table.stale_targets(1900.0, 900.0, self.rng)), 7)

    def test_halves_are_as_fresh(self) -> None:
        """A range that is split was looked up when the whole was."""
        self.table.looked_up(OWN, 1000.0)
        self.confirm(*self.at_depth(1, bucket_capacity(0)), *self.at_depth(0, 5))
        self.assertEqual(self.table.stale_targets(1100.0, 900.0, self.rng), [])

    def test_stale_when_empty(self) -> None:
        """A fresh table has one range, the whole space."""
        targets = self.table.stale_targets(1000.0, 900.0, self.rng)
        self.assertEqual([shared_prefix(OWN, target) for target in targets], [0, ID_BITS])

    def test_far(self) -> None:
        """After the own id, an id in each range farther than the closest neighbour is to be looked up."""
        self.assertEqual(self.table.far_targets(self.rng), [])
        self.confirm(*self.at_depth(0, 1))
        self.assertEqual(len(self.table.far_targets(self.rng)), 1)
        self.confirm(*self.at_depth(5, 1))
        depths = [shared_prefix(OWN, target) for target in self.table.far_targets(self.rng)]
        self.assertEqual(depths, [0, 1, 2, 3, 4])
        self.confirm(OWN ^ 1)
        self.assertEqual(len(self.table.far_targets(self.rng)), 255)


class SubnetTests(TableTestCase):
    """How many contacts of one subnet a table has; `first_byte` is the subnet."""

    def setUp(self) -> None:
        super().setUp()
        self.table = RoutingTable(OWN, first_byte)

    def answer(self, subnet: int, *node_ids: int) -> None:
        for node_id in node_ids:
            self.table.confirmed(contact(node_id, (f"{subnet}.0.0.1", 8000)), 0.0, 0.1)

    def test_bucket(self) -> None:
        """A third contact of a subnet does not enter a bucket, and is not wanted; others do."""
        first, second, third, other = self.at_depth(0, 4)
        self.answer(7, first, second, third)
        self.assertEqual((len(self.table), third in self.table), (2, False))
        self.assertFalse(self.table.wants(contact(third, ("7.0.0.1", 8000))))
        self.assertTrue(self.table.wants(contact(other, ("8.0.0.1", 8000))))
        self.answer(8, other)
        self.assertIn(other, self.table)

    def test_place_becomes_free(self) -> None:
        """When one of the subnet leaves, the next one that answers may come."""
        first, second, third = self.at_depth(0, 3)
        self.answer(7, first, second)
        for turn in range(MISSES_TO_DROP):
            self.table.failed(contact(first, ("7.0.0.1", 8000)), 10.0 * turn)
            self.answer(8, *self.at_depth(1, 1))
        self.assertNotIn(first, self.table)
        self.answer(7, third)
        self.assertIn(third, self.table)

    def test_table(self) -> None:
        """No more than ten of a subnet are in the table, in however many buckets."""
        for depth in range(6):  # So that there are buckets to be in.
            for number, node_id in enumerate(self.at_depth(depth, bucket_capacity(depth))):
                self.table.confirmed(contact(node_id, ("10.0.0.1", number + 1)), 0.0, 0.1)
        for depth in range(6, 20):
            self.answer(7, *self.at_depth(depth, 3))
            for number, node_id in enumerate(self.at_depth(depth, K)):
                self.table.confirmed(contact(node_id, ("10.0.0.1", number + 1)), 0.0, 0.1)
        company = [c for c in self.table.contacts() if c.address[0] == "7.0.0.1"]
        self.assertEqual(len(company), SUBNET_IN_TABLE)

    def test_replacements(self) -> None:
        """Spares count: a subnet cannot wait in the wings until others leave."""
        self.confirm_private(*self.at_depth(0, bucket_capacity(0)))
        self.confirm_private(*self.at_depth(1, bucket_capacity(1)))
        waiting = self.at_depth(0, 5)
        self.answer(7, *waiting)
        self.assertNotIn(waiting[0], self.table)
        for node_id in [c.node_id for c in self.table.contacts() if shared_prefix(OWN, c.node_id) == 0][:10]:
            self.table.failed(contact(node_id, ("10.0.0.1", 8000)), 10.0)
            self.confirm_private(*self.at_depth(1, 1))
        self.assertEqual(sum(node_id in self.table for node_id in waiting), SUBNET_IN_BUCKET)

    def confirm_private(self, *node_ids: int) -> None:
        self.answer(10, *node_ids)

    def test_moved(self) -> None:
        """Entering from another subnet first does not evade the limit: a contact counts where it is now."""
        first, second, third = self.at_depth(0, 3)
        self.answer(7, first, second)
        self.answer(8, third)
        self.table.failed(contact(third, ("8.0.0.1", 8000)), 1.0)
        self.answer(7, third)
        self.assertTrue(self.table.is_suspect(third))
        self.answer(9, third)
        self.assertFalse(self.table.is_suspect(third))

    def test_private(self) -> None:
        """Where subnets do not count there is no limit."""
        self.confirm_private(*self.at_depth(0, 300))
        self.assertEqual(len(self.table), 300)

    def test_holders(self) -> None:
        """Of the nearest to a key two of a subnet count; the others make room for the next."""
        key = OWN ^ (1 << 255)
        for number in range(1, 4):
            self.answer(7, key ^ number)
            self.answer(20 + number, key ^ (10 + number))
        self.table.confirmed(contact(key ^ 4, ("8.0.0.1", 8000)), 0, 0.1)
        self.assertEqual(ids(self.table.holders(key, 4)), [key ^ 1, key ^ 2, key ^ 4, key ^ 11])
        self.assertEqual(len(self.table.holders(key, 50)), 6)


class TableMachine(RuleBasedStateMachine):
    """The table beside a naive model: every id that it says it has, with its state."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.rng = random.Random(4)
        self.met: list[int] = []

    @initialize(own=st.sampled_from([0, 1, OWN, ID_SPACE - 1]))
    def begin(self, own: int) -> None:
        self.table = RoutingTable(own)
        self.suspects: set[int] = set()

    def model(self) -> list[int]:
        return [node_id for node_id in dict.fromkeys(self.met) if node_id in self.table]

    @rule(
        depth=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5, 100, 254, 255]), count=st.sampled_from([1, 5, 60])
    )
    def unknown_peers_answer(self, depth: int, count: int) -> None:
        for _ in range(count):
            node_id = random_id_sharing(self.table.own_id, depth, self.rng)
            self.met.append(node_id)
            self.answer(contact(node_id))

    @rule(pick=st.integers(0), elsewhere=st.booleans())
    @precondition(lambda self: self.met)
    def known_answers(self, pick: int, elsewhere: bool) -> None:
        self.answer(contact(self.met[pick % len(self.met)], ELSEWHERE if elsewhere else HERE))

    def answer(self, who: Contact) -> None:
        wanted, before = self.table.wants(who), who.node_id in self.table
        self.table.confirmed(who, self.now, 0.1)
        self.suspects.discard(who.node_id)
        if not wanted:
            assert (who.node_id in self.table) == before

    @rule(start=st.integers(0), count=st.sampled_from([1, 3, 30]), elsewhere=st.booleans())
    @precondition(lambda self: self.met)
    def some_fail(self, start: int, count: int, elsewhere: bool) -> None:
        for number in range(count):
            node_id = self.met[(start + number) % len(self.met)]
            before = {one.node_id: one for one in self.table.contacts()}
            who = contact(node_id, ELSEWHERE if elsewhere else HERE)
            self.table.failed(who, self.now)
            if before.get(node_id) == who:
                self.suspects.add(node_id)
            else:
                assert {one.node_id: one for one in self.table.contacts()} == before

    @rule(seconds=st.sampled_from([0.1, 1.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(aim=st.integers(0, ID_SPACE - 1))
    def looked_up(self, aim: int) -> None:
        self.table.looked_up(aim, self.now)
        assert self.table.own_id in self.table.stale_targets(self.now + 1, 1, self.rng)

    @rule(near=st.sampled_from([0, 3, 100, 255]), count=st.integers(1, 400), live_only=st.booleans())
    def closest(self, near: int, count: int, live_only: bool) -> None:
        target = random_id_sharing(self.table.own_id, near, self.rng)
        known = [i for i in self.model() if not live_only or not self.table.is_suspect(i)]
        assert ids(self.table.closest(target, count, live_only)) == sorted(known, key=target.__xor__)[:count]

    @rule()
    def pings(self) -> None:
        due = self.table.contacts_to_ping(self.now, HOUR)
        assert len(due) == len(set(due)) <= SUSPECTS_AT_ONCE + PROBES_IN_DOUBT + MAX_TRIED + 2
        assert bool(self.table.has_live_contact()) <= bool(due)

    @invariant()
    def sound(self) -> None:
        self.table.check_invariants()
        model = self.model()
        assert len(self.table) == len(model) == len(set(self.table.contacts()))
        assert {i for i in model if self.table.is_suspect(i)} == self.suspects & set(model)


class MachineTests(SynchronousTestCase):
    def test_machine(self) -> None:
        """Whatever happens in whatever order, the table agrees with a naive model of it."""
        run_state_machine_as_test(
            TableMachine,
            settings=settings(derandomize=True, deadline=None, max_examples=40, stateful_step_count=40),
        )
