from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import SUBNET_IN_SET
from dht14.kademlia.subnet_limits import SubnetQuota, limit_per_subnet, unlimited


def first_byte(host: str) -> bytes | None:
    """A subnet is all that begins with the same number; 10 is private."""
    number = int(host.partition(".")[0])
    return None if number == 10 else bytes([number])


def contact(node_id: int, subnet: int) -> Contact:
    return Contact(node_id, (f"{subnet}.0.0.{node_id}", 8000))


class PlacesTests(SynchronousTestCase):
    """How many of a subnet count."""

    def test_limit_per_subnet(self) -> None:
        """The first two of each subnet stay, in their order."""
        crowd = [contact(1, 7), contact(2, 7), contact(3, 8), contact(4, 7), contact(5, 8), contact(6, 8)]
        self.assertEqual([c.node_id for c in limit_per_subnet(crowd, first_byte)], [1, 2, 3, 5])

    def test_private(self) -> None:
        """Where there is no limit all stay."""
        crowd = [contact(number, 10) for number in range(20)]
        self.assertEqual(list(limit_per_subnet(crowd, first_byte)), crowd)
        crowd = [contact(number, 7) for number in range(20)]
        self.assertEqual(list(limit_per_subnet(crowd, unlimited)), crowd)

    def test_take(self) -> None:
        """Each contact uses up one of its subnet's quota."""
        quota = SubnetQuota(first_byte)
        taken = [quota.take(contact(number, 7)) for number in range(4)]
        self.assertEqual(taken, [True] * SUBNET_IN_SET + [False] * (4 - SUBNET_IN_SET))
