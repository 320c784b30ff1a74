import ipaddress
import random
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import ID_SPACE
from dht14.wire.contacts import make_room, pack_contacts, unpack_contacts
from dht14.wire.messages import MAX_CONTACTS_BYTES
from tests.fakes import contact_at, proof_of, verify_proof

ids = st.integers(0, ID_SPACE - 1)
ports = st.integers(1, 0xFFFF)


def _usable(host: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    if isinstance(host, ipaddress.IPv4Address):
        return host.packed[0] not in (0, 255) and not host.is_multicast
    return not (host.is_unspecified or host.is_multicast or host.ipv4_mapped)


hosts = st.ip_addresses().filter(_usable).map(str)
contacts = st.builds(contact_at, ids, st.tuples(hosts, ports))

V4 = contact_at(1, ("192.0.2.1", 8000))
V6 = contact_at(2, ("2001:db8::1", 65535))


def unpack(packed: bytes, limit: int = 0xFFFF) -> tuple[Contact, ...]:
    return unpack_contacts(packed, verify_proof, limit)


def raw(host: str, port: int = 8000, node_id: int = 1) -> bytes:
    """One contact alone, packed by hand."""
    address = ipaddress.ip_address(host)
    count = b"\0\1" if address.version == 4 else b"\0\0"
    return count + proof_of(node_id) + address.packed + port.to_bytes(2, "big")


class ContactsTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """The number of IPv4 contacts, these, and those with IPv6, big-endian."""
        expected = b"\0\1" + proof_of(1) + b"\xc0\x00\x02\x01\x1f\x40"
        expected += proof_of(2) + ipaddress.ip_address("2001:db8::1").packed + b"\xff\xff"
        self.assertEqual(pack_contacts([V6, V4]), expected)
        self.assertEqual(unpack(expected), (V4, V6))

    def test_none(self) -> None:
        """No contacts are two bytes."""
        self.assertEqual(pack_contacts([]), b"\0\0")
        self.assertEqual(unpack(b"\0\0"), ())

    @settings(derandomize=True, deadline=None)
    @given(st.lists(contacts, max_size=30))
    def test_round_trip(self, some: list[Contact]) -> None:
        """All contacts come back, those with IPv4 first and in their order otherwise."""
        sorted_by_family = sorted(some, key=lambda contact: ":" in contact.address[0])
        self.assertEqual(unpack(pack_contacts(some)), tuple(sorted_by_family))

    def test_room(self) -> None:
        """The first contacts, the nearest, fit, of either family: 20 of IPv4, 16 of IPv6."""
        v4 = [contact_at(n, ("192.0.2.1", 8000)) for n in range(30)]
        v6 = [contact_at(100 + n, ("2001:db8::1", 8000)) for n in range(30)]
        for nearest, fit in ((v4, 20), (v6, 16), ([*v6[:10], *v4], 18), ([*v4[:10], *v6], 18)):
            packed = pack_contacts(nearest, MAX_CONTACTS_BYTES)
            self.assertLessEqual(len(packed), MAX_CONTACTS_BYTES)
            self.assertEqual(set(unpack(packed)), set(nearest[:fit]))

    def test_many(self) -> None:
        """A process that has made room for many contacts makes each of them once, however many pass by."""
        make_room(10_000)
        many = pack_contacts(contact_at(n, ("192.0.2.1", 8000)) for n in range(10_000))
        # One of its own: the cache of the usual one has contacts of other tests.
        verify = partial(verify_proof)
        first, again = (unpack_contacts(many, verify) for _ in range(2))
        self.assertTrue(all(one is other for one, other in zip(first, again, strict=True)))

    def test_impossible_addresses(self) -> None:
        """Contacts at addresses that no node can have are left out, the others stay."""
        for host in (
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:192.0.2.1",
        ):
            self.assertEqual(unpack(raw(host)), (), host)
        self.assertEqual(unpack(raw("192.0.2.1", port=0)), ())
        mixed = b"\0\2" + raw("0.0.0.0")[2:] + raw("192.0.2.1")[2:] + raw("::")[2:]
        self.assertEqual(unpack(mixed), (V4,))

    def test_possible_addresses(self) -> None:
        """Loopback and private addresses are addresses of nodes."""
        for host in ("127.0.0.1", "10.0.0.1", "223.255.255.255", "240.0.0.1", "::1", "fd00::1", "fe80::1"):
            self.assertEqual(unpack(raw(host)), (contact_at(1, (host, 8000)),), host)

    def test_counts(self) -> None:
        """The limit counts all contacts, those that are left out included."""
        packed = pack_contacts([V4, V6] * 10)
        self.assertEqual(len(unpack(packed, limit=20)), 20)
        self.assertRaises(Malformed, unpack, packed, limit=19)
        self.assertRaises(Malformed, unpack, b"\0\2" + raw("0.0.0.0")[2:] * 2, limit=1)

    def test_broken_lengths(self) -> None:
        """A length that is not one of whole contacts is refused."""
        packed = pack_contacts([V4, V4, V6])
        whole = len(packed), len(packed) - len(raw("::1")) + 2
        for length in range(len(packed)):
            if length not in whole:
                self.assertRaises(Malformed, unpack, packed[:length])
        self.assertRaises(Malformed, unpack, b"\xff\xff" + packed[2:])

    def test_junk(self) -> None:
        """Junk is Malformed, or contacts that pack to the same bytes but for those left out."""
        rng = random.Random(1)
        for _ in range(5000):
            junk = bytes([0, rng.choice([0, 1, 2, 5])]) + rng.randbytes(
                rng.choice([0, 54, 66, 108, 120, 132, rng.randint(0, 300)])
            )
            try:
                found = unpack(junk)
            except Malformed:
                continue
            packed = pack_contacts(found)
            if len(packed) == len(junk):
                self.assertEqual(packed, junk)
            self.assertEqual(unpack(packed), found)
