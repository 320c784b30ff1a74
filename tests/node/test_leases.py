"""Who may have how many leases."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.node import leases
from dht14.node.leases import LEASE_SECONDS, LEASES_PER_NODE, LEASES_PER_PARTY, MAX_LEASES, Lease, LeaseTable
from dht14.records.store import Refusal
from dht14.security.subnets import Scope, parties_of
from tests.fakes import contact_at

MARK, OTHER_MARK = b"a mark..", b"another."
NOW = 1_000.0


def public(number: int, subnet: int = 1) -> Contact:
    """A node on the internet."""
    return contact_at(subnet << 32 | number + 1, (f"8.{subnet >> 8}.{subnet & 255}.{number % 250 + 1}", 8000))


class LeaseTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = LeaseTable(parties_of)

    def granted(self, key: int, watcher: Contact, mark: bytes = MARK, now: float = NOW) -> Lease:
        lease = self.table.grant(key, watcher, mark, now)
        assert isinstance(lease, Lease), lease
        return lease

    def test_grant(self) -> None:
        """A lease lasts for its time, and is one of its key and no other."""
        lease = self.granted(1, public(1))
        self.assertEqual(self.table.of_key(1, NOW + LEASE_SECONDS - 1), [lease])
        self.assertEqual(self.table.of_key(1, NOW + LEASE_SECONDS), [])
        self.assertEqual(list(self.table.of_key(2, NOW)), [])

    def test_renew(self) -> None:
        """A renewed lease is the same one, with the mark that the watcher knows now."""
        lease = self.granted(1, public(1))
        self.assertIs(self.granted(1, public(1), OTHER_MARK, NOW + 20), lease)
        self.assertEqual((lease.ends_at, lease.told), (NOW + 20 + LEASE_SECONDS, OTHER_MARK))
        self.assertEqual(len(self.table), 1)

    def test_moved(self) -> None:
        """A watcher at another address has one lease, at that address."""
        self.granted(1, public(1))
        moved = Contact(public(1).node_id, ("9.9.9.9", 8000))
        self.granted(1, moved)
        self.assertEqual([lease.watcher.address for lease in self.table.of_key(1, NOW)], [("9.9.9.9", 8000)])
        self.assertEqual(len(self.table), 1)

    def test_end(self) -> None:
        """A lease that has ended, by the watcher or by time, leaves nothing."""
        lease = self.granted(1, public(1))
        self.table.end(lease)
        self.table.end(lease)
        self.assertEqual((len(self.table), self.table.find(1, public(1).node_id)), (0, None))
        for key in range(20):
            self.granted(key, public(1))
        self.granted(99, public(2), now=NOW + LEASE_SECONDS)
        self.assertEqual(len(self.table), 1)

    def test_node(self) -> None:
        """A node that asks for too many is refused; another one is not."""
        watcher = public(1)
        for key in range(LEASES_PER_NODE):
            self.granted(key, watcher)
        self.assertIs(self.table.grant(-1, watcher, MARK, NOW), Refusal.SHARE)
        self.granted(0, watcher)
        self.granted(-1, public(2))

    def test_subnet(self) -> None:
        """All ids of one subnet together have a share; those of private ranges have none."""
        share = LEASES_PER_PARTY[Scope.SUBNET]
        for number in range(share):
            self.granted(number, public(number % 100))
        self.assertIs(self.table.grant(-1, public(150), MARK, NOW), Refusal.SHARE)
        self.granted(-1, public(1, subnet=2))
        for number in range(share, share + 100):
            self.granted(number, contact_at(number, ("127.0.0.1", 8000 + number)))

    def test_key(self) -> None:
        """A key has a limit of its own. The party with most of its leases makes room for one with fewer."""
        self.patch(leases, "LEASES_PER_KEY", 3)
        for number in range(3):
            self.granted(1, public(number))
        self.granted(1, public(3, subnet=2))
        self.assertEqual(len(list(self.table.of_key(1, NOW))), 3)
        for number in range(9):
            self.granted(10 + number, public(4, subnet=3))
        self.assertIs(self.table.grant(1, public(5, subnet=3), MARK, NOW), Refusal.NO_ROOM)
        self.granted(2, public(5, subnet=3))

    def test_crowded_key(self) -> None:
        """Ids of one host that hold all leases of a key, and renew them, keep no other node out."""
        self.patch(leases, "LEASES_PER_KEY", 200)
        host = [contact_at(number, ("8.0.1.1", 8000 + number)) for number in range(1, 201)]
        for watcher in host:
            self.granted(1, watcher)
        newcomers = [public(0, subnet=2 + number) for number in range(50)]
        for newcomer in newcomers:
            self.granted(1, newcomer)
            for watcher in host:
                self.table.grant(1, watcher, MARK, NOW)
        self.assertEqual(len(list(self.table.of_key(1, NOW))), 200)
        for newcomer in newcomers:
            self.assertIsNotNone(self.table.find(1, newcomer.node_id))

    def test_full(self) -> None:
        """Where no lease is free, the party with most leases makes room for one with fewer."""
        for number in range(MAX_LEASES):
            self.granted(number, public(number % 100, subnet=1 + number % 3))
        newcomer = public(1, subnet=300)
        self.granted(-1, newcomer)
        self.assertEqual(len(self.table), MAX_LEASES)
        self.assertIsNone(self.table.find(0, public(0).node_id))
