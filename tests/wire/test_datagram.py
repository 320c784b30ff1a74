import random
from collections import Counter
from collections.abc import Callable

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import ID_SPACE, id_to_bytes
from dht14.kademlia.parameters import GROUP, MAX_DATAGRAM, MAX_INLINE_VALUE, MAX_REPLICATION, MAX_VALUE, K
from dht14.records.store import Refusal
from dht14.session.handshake import ACCEPT_PREFIX_BYTES
from dht14.session.session import MIN_DATA_BYTES
from dht14.wire.contacts import first_fitting, pack_contacts
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.inventory import MAX_ENTRIES, MAX_TTL_SECONDS
from dht14.wire.messages import (
    FINGERPRINT_BITS,
    MARK_BYTES,
    MAX_LEASE_MS,
    MAX_SOFTWARE_BYTES,
    MAX_TIME_MS,
    MAX_TTL_MS,
    MAX_VALUE_AND_CONTACTS,
    MAX_VERSION,
    Announce,
    Describe,
    Described,
    FindNode,
    FindValue,
    Inventory,
    InventoryEntry,
    Lacking,
    Lapsed,
    LargeValue,
    Message,
    Nodes,
    Notify,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Resync,
    Resynced,
    Store,
    Stored,
    Value,
    Wanted,
    Watch,
    Watching,
    view_of,
)
from dht14.wire.schema import REPLIES, SCHEMA
from tests.fakes import contact_at, verify_proof

RPC_ID = b"\x00\x01\x02\x03\xfc\xfd\xfe\xff"
CASES = 20_000

ids = st.integers(0, ID_SPACE - 1)
versions = st.integers(0, MAX_VERSION)
ttls = st.integers(1, MAX_TTL_MS)
copies = st.integers(1, MAX_REPLICATION)
digests = st.binary(min_size=32, max_size=32)
tickets = st.binary(min_size=16, max_size=16)
printable = st.lists(st.integers(0x21, 0x7E), min_size=1, max_size=MAX_SOFTWARE_BYTES).map(bytes)
marks = st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)
entries = st.builds(InventoryEntry, ids, marks, st.integers(0, MAX_TTL_SECONDS), copies)
values = st.binary(min_size=1, max_size=MAX_INLINE_VALUE)
v4 = st.builds(
    contact_at, ids, st.tuples(st.sampled_from(["127.0.0.1", "192.0.2.255"]), st.integers(1, 0xFFFF))
)
v6 = st.builds(contact_at, ids, st.tuples(st.sampled_from(["::1", "2001:db8::ff"]), st.integers(1, 0xFFFF)))
contacts = st.tuples(st.lists(v4, max_size=K // 2), st.lists(v6, max_size=8)).map(
    lambda families: tuple(families[0] + families[1])
)
few_contacts = st.lists(st.one_of(v4, v6), max_size=GROUP).map(
    lambda some: tuple(sorted(some, key=lambda one: ":" in one.address[0]))
)
few_bytes = st.binary(min_size=1, max_size=400)
messages: "st.SearchStrategy[Message]" = st.one_of(
    st.just(Ping()),
    st.builds(FindNode, ids),
    st.builds(FindValue, ids, st.lists(ids, max_size=GROUP).map(view_of)),
    st.builds(
        Store, ids, versions, ttls, copies, st.integers(0, (1 << FINGERPRINT_BITS) - 1), values, st.booleans()
    ),
    st.builds(Pong, st.integers(0, MAX_TIME_MS)),
    st.just(Resync()),
    st.just(Resynced()),
    st.builds(Nodes, contacts, st.booleans()),
    st.builds(Lapsed, contacts, st.integers(1, 2), versions),
    st.builds(Value, versions, ttls, copies, st.booleans(), few_bytes, few_contacts),
    st.builds(Value, versions, ttls, copies, st.booleans(), values),
    st.builds(Stored, contacts, st.booleans(), st.integers(0, MAX_REPLICATION)),
    st.builds(Outranked, versions, contacts),
    st.builds(Refused, contacts, st.sampled_from(Refusal), st.booleans()),
    st.builds(
        Offer,
        ids,
        versions,
        ttls,
        copies,
        st.integers(0, (1 << FINGERPRINT_BITS) - 1),
        st.booleans(),
        st.integers(1, MAX_VALUE),
        digests,
        st.booleans(),
    ),
    st.builds(Wanted, contacts, tickets),
    st.builds(Watch, ids, st.lists(ids, max_size=GROUP).map(view_of), st.booleans()),
    st.builds(Notify, ids, marks),
    st.just(Describe()),
    st.builds(Described, printable),
    st.builds(Inventory, st.lists(entries, min_size=1, max_size=MAX_ENTRIES).map(tuple)),
    st.builds(Lacking, st.integers(0, (1 << MAX_ENTRIES) - 1)),
    st.builds(Watching, st.integers(0, MAX_LEASE_MS), marks, contacts),
    st.builds(Announce, st.one_of(v4, v6).map(lambda contact: contact.address)),
    st.builds(
        LargeValue,
        versions,
        ttls,
        copies,
        st.booleans(),
        st.booleans(),
        st.integers(MAX_INLINE_VALUE + 1, MAX_VALUE),
        digests,
        tickets,
        few_contacts,
    ),
)

SOME_CONTACTS = (contact_at(9, ("127.0.0.1", 8000)), contact_at(10, ("2001:db8::1", 8001)))
SAMPLES: list[Message] = [
    Ping(),
    FindNode(7),
    FindValue(8, view_of((1, 2, 3))),
    Store(7, 1 << 60, 86_400_000, 8, 1 << 63, b"a value"),
    Resync(),
    Resynced(),
    Pong(1_700_000_000_000),
    Nodes(SOME_CONTACTS, False),
    Lapsed(SOME_CONTACTS, 2, 7),
    Value(1 << 60, 1, 20, False, b"x" * 300, SOME_CONTACTS),
    Stored((), False, 20),
    Outranked(5, SOME_CONTACTS),
    Refused(SOME_CONTACTS[:1], Refusal.SHARE, True),
    Offer(7, 1 << 60, 86_400_000, 8, 1 << 63, False, 5, bytes(32)),
    Wanted(SOME_CONTACTS, bytes(16)),
    Announce(("2001:db8::1", 8000)),
    Watch(8, view_of((1, 2, 3)), False),
    Notify(7, b"markmark"),
    Describe(),
    Described(b"dht14/0.1.0"),
    Inventory((InventoryEntry(7, b"markmark", 86_400, 8), InventoryEntry(8, bytes(8), 0, 20))),
    Lacking(0b10),
    Watching(60_000, b"markmark", SOME_CONTACTS),
    LargeValue(1 << 60, 1, 20, False, True, 65_495, bytes(32), bytes(16), SOME_CONTACTS),
]


V4_CONTACTS = tuple(contact_at(n, ("127.0.0.1", 8000)) for n in range(20))
V6_CONTACTS = tuple(contact_at(n, ("2001:db8::1", 8001)) for n in range(20))
MOST_CONTACTS = (V4_CONTACTS, V6_CONTACTS, V6_CONTACTS[:10] + V4_CONTACTS[10:])
MAX_U64 = (1 << 64) - 1
INLINE = bytes(MAX_INLINE_VALUE)


def beside(some: tuple[Contact, ...], length: int) -> tuple[Contact, ...]:
    """The first of these contacts that fit beside a value of this length."""
    return first_fitting(some, MAX_VALUE_AND_CONTACTS - length)


LARGEST: list[Message] = [
    Ping(),
    FindNode(7),
    FindValue(8, view_of(range(5))),
    Resync(),
    Resynced(),
    Store(7, MAX_VERSION, MAX_TTL_MS, 20, MAX_U64, INLINE, True),
    Offer(7, MAX_VERSION, MAX_TTL_MS, 20, MAX_U64, True, MAX_VALUE, bytes(32), True),
    Announce(("2001:db8::1", 8000)),
    Watch(8, view_of(range(5)), True),
    Notify(7, bytes(8)),
    Describe(),
    Described(b"x" * MAX_SOFTWARE_BYTES),
    Inventory(MAX_ENTRIES * (InventoryEntry(7, bytes(8), MAX_TTL_SECONDS, 20),)),
    Lacking((1 << MAX_ENTRIES) - 1),
    *(Watching(MAX_LEASE_MS, bytes(8), some) for some in MOST_CONTACTS),
    Pong(MAX_TIME_MS),
    *map(Nodes, MOST_CONTACTS),
    *(Lapsed(some, 2, MAX_VERSION) for some in MOST_CONTACTS),
    *(Value(MAX_VERSION, MAX_TTL_MS, 20, True, INLINE, beside(some, len(INLINE))) for some in MOST_CONTACTS),
    *(Value(MAX_VERSION, MAX_TTL_MS, 20, True, b"v" * 300, beside(some, 300)) for some in MOST_CONTACTS),
    *(Stored(some, True, 20) for some in MOST_CONTACTS),
    *(Outranked(MAX_VERSION, some) for some in MOST_CONTACTS),
    *(Refused(some, Refusal.INVALID, True) for some in MOST_CONTACTS),
    *(Wanted(some, bytes(16)) for some in MOST_CONTACTS),
    LargeValue(
        MAX_VERSION, MAX_TTL_MS, 20, True, True, MAX_VALUE, bytes(32), bytes(16), MOST_CONTACTS[1][:5]
    ),
]
ACCEPT_BYTES = MIN_DATA_BYTES + ACCEPT_PREFIX_BYTES


class EncodingTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """A message is a CBOR array of its RPC id, its code and its fields."""
        self.assertEqual(encode(RPC_ID, Ping()), b"\x82\x48" + RPC_ID + b"\x01")
        self.assertEqual(encode(RPC_ID, Pong(5)), b"\x83\x48" + RPC_ID + b"\x18\x40\x05")
        expected = b"\x83\x48" + RPC_ID + b"\x02\x58\x20" + id_to_bytes(7)
        self.assertEqual(encode(RPC_ID, FindNode(7)), expected)
        items = [RPC_ID, 4, id_to_bytes(7), 1 << 60, 86_400_000, 8, 1 << 63, b"a value", 0]
        self.assertEqual(encode(RPC_ID, SAMPLES[3]), cbor2.dumps(items))

    @settings(derandomize=True, deadline=None, max_examples=400)
    @given(st.binary(min_size=RPC_ID_BYTES, max_size=RPC_ID_BYTES), messages)
    def test_round_trip(self, rpc_id: bytes, message: Message) -> None:
        """Every message comes back as it was."""
        self.assertEqual(decode(encode(rpc_id, message), verify_proof), (rpc_id, message))

    def test_largest(self) -> None:
        """Every reply fits a datagram as the first of a session (an ACCEPT), every request as a later one."""
        self.assertEqual({type(message) for message in LARGEST}, {entry.message for entry in SCHEMA.values()})
        for message in LARGEST:
            around = ACCEPT_BYTES if isinstance(message, REPLIES) else MIN_DATA_BYTES
            self.assertLessEqual(len(encode(RPC_ID, message)) + around, MAX_DATAGRAM)

    def test_all_kinds(self) -> None:
        """The samples of this module are one of each message."""
        self.assertEqual(Counter(map(type, SAMPLES)), Counter(entry.message for entry in SCHEMA.values()))


class StrictnessTests(SynchronousTestCase):
    def assert_malformed(self, data: bytes) -> None:
        self.assertRaises(Malformed, decode, data, verify_proof)

    def assert_fields(self, code: int, good: list[object], bad: list[object], at: int) -> None:
        """The message decodes with the good fields, and with none of the bad ones at that index."""
        decode(cbor2.dumps([RPC_ID, code, *good]), verify_proof)
        for item in bad:
            self.assert_malformed(cbor2.dumps([RPC_ID, code, *good[:at], item, *good[at + 1 :]]))

    def test_empty(self) -> None:
        """Empty bytes, and anything but an array, are no message."""
        self.assert_malformed(b"")
        others: list[object] = [
            1,
            -1,
            b"x",
            "x",
            {},
            None,
            True,
            1.5,
            [],
            [RPC_ID],
            cbor2.CBORTag(1, [RPC_ID, 1]),
        ]
        for item in others:
            self.assert_malformed(cbor2.dumps(item))

    def test_rpc_id(self) -> None:
        """An RPC id is 8 bytes."""
        for rpc_id in (b"", bytes(7), bytes(9), "12345678", 5, None):
            self.assert_malformed(cbor2.dumps([rpc_id, 1]))

    def test_codes(self) -> None:
        """A code is one of the schema, with as many fields as it has there."""
        for code in range(300):
            if code not in SCHEMA:
                for count in range(7):
                    self.assert_malformed(cbor2.dumps([RPC_ID, code, *[5] * count]))
        for other in (True, 1.0, b"\1", "1", None, -1, 1 << 70):
            self.assert_malformed(cbor2.dumps([RPC_ID, other]))
        for sample in SAMPLES:
            items = cbor2.loads(encode(RPC_ID, sample))
            self.assert_malformed(cbor2.dumps(items[:-1]))
            self.assert_malformed(cbor2.dumps([*items, 1]))

    def test_ids(self) -> None:
        """An id is a byte string of 32."""
        for code, more in ((2, ()), (3, (b"",))):
            bad = [b"", bytes(31), bytes(33), 7, "x" * 32, None, [7]]
            self.assert_fields(code, [bytes(32), *more], bad, at=0)

    def test_views(self) -> None:
        """A view has at most five nodes, four bytes each."""
        for view in (b"", bytes(4), bytes(20)):
            self.assert_fields(3, [bytes(32), view], [bytes(3), bytes(5), bytes(24), 7, None], at=1)
            self.assert_fields(9, [bytes(32), view, 1], [bytes(3), bytes(5), bytes(24), 7, None], at=1)

    def test_reasons(self) -> None:
        """A reason is one of the known ones."""
        for reason in Refusal:
            self.assert_fields(69, [b"\0\0", int(reason), 0], [0, len(Refusal) + 1, b"\1"], at=1)

    def test_ranges(self) -> None:
        """Every number and every length is within its bounds, and is a number or a byte string."""
        good: list[object] = [bytes(32), 0, 1, 1, 0, b"v", 1]
        for at, low, high in (
            (1, 0, MAX_VERSION),
            (2, 1, MAX_TTL_MS),
            (3, 0, MAX_REPLICATION),
            (4, 0, (1 << FINGERPRINT_BITS) - 1),
        ):
            self.assert_fields(
                4, [*good[:at], high, *good[at + 1 :]], [low - 1, high + 1, 1 << 64, True, 1.0, b"\1"], at
            )
        longest = bytes(MAX_INLINE_VALUE)
        self.assert_fields(4, [*good[:5], longest, 0], [b"", longest + b"x", "v", 5, None], at=5)
        self.assert_fields(4, good, [2, True, False, b"", None], at=6)
        self.assert_fields(66, [0, 1, 1, 1, longest, b"\0\0"], [b"", longest + b"x"], at=4)
        self.assert_fields(66, [0, 1, 1, 1, b"v", b"\0\0"], [2, True, False, b"", None], at=3)

    def test_contacts(self) -> None:
        """Contacts are one byte string of at most k whole ones."""
        for code, more in ((65, (1,)), (67, (1, 8)), (69, (1, 0)), (72, (1, 8))):
            most = pack_contacts(SOME_CONTACTS[:1] * K)
            too_many = pack_contacts(SOME_CONTACTS[:1] * (K + 1))
            self.assert_fields(code, [most, *more], [too_many, b"", b"\0", most[:-1], 5, "x", [], None], at=0)
            widest, too_wide = (pack_contacts(V6_CONTACTS[:count]) for count in (16, 17))
            self.assert_fields(code, [widest, *more], [too_wide], at=0)

    def test_lapsed(self) -> None:
        """The kind of a LAPSED is open or owner."""
        self.assert_fields(72, [b"\0\0", 2, 5], [0, 3, b"", True], at=1)

    def test_watching(self) -> None:
        """A mark has 8 bytes, and a lease is at most ten minutes long."""
        not_marks: list[object] = [bytes(7), bytes(9), b"", 7, None]
        self.assert_fields(10, [bytes(32), bytes(8)], not_marks, at=1)
        self.assert_fields(73, [0, bytes(8), b"\0\0"], not_marks, at=1)
        self.assert_fields(73, [MAX_LEASE_MS, bytes(8), b"\0\0"], [-1, MAX_LEASE_MS + 1, b"", None], at=0)
        self.assert_fields(9, [bytes(32), b"", 1], [2, True, b"", None], at=2)

    def test_software(self) -> None:
        """The name of a software is short, and of printable characters without spaces."""
        wrong: list[object] = [b"", b"x" * 33, b"a b", b"\x1b[2J", b"\xc3\xa4", b"\x7f", "dht14", 7, None]
        self.assert_fields(74, [b"x" * 32], wrong, at=0)

    def test_size(self) -> None:
        """Bytes larger than a datagram are refused before they are decoded."""
        self.assert_malformed(encode(RPC_ID, Ping()) + bytes(MAX_DATAGRAM))

    def test_one_encoding(self) -> None:
        """Every other way to write the same message is refused."""
        ping, find = encode(RPC_ID, Ping()), encode(RPC_ID, FindNode(7))
        for other in (
            b"\x98\x02" + ping[1:],  # a longer head of the array
            b"\x9f" + ping[1:] + b"\xff",  # an array without a length
            b"\x82\x58\x08" + ping[2:],  # a longer head of a byte string
            b"\x82\x5f\x48" + RPC_ID + b"\xff\x01",  # a byte string in pieces
            ping[:-1] + b"\x18\x01",  # a longer integer
            ping[:-1] + b"\xf9\x3c\x00",  # a float
            ping[:-1] + b"\xc2\x41\x01",  # a big number
            find[:11] + b"\x59\x00\x20" + find[13:],
            find[:11] + b"\xd8\x40" + find[11:],  # a tag
            b"\xd9\xd9\xf7" + ping,  # the tag that says "this is CBOR"
            ping + b"\x00",
            ping + ping,
        ):
            self.assert_malformed(other)
        self.assertEqual(decode(ping, verify_proof), (RPC_ID, Ping()))

    def test_truncated(self) -> None:
        """No beginning of a message is a message."""
        for sample in SAMPLES:
            data = encode(RPC_ID, sample)
            for length in range(len(data)):
                self.assert_malformed(data[:length])


HEAD = b"\x83\x48" + RPC_ID + b"\x02"
BOMBS = [
    b"\x81" * 1100 + b"\x00",
    HEAD + b"\x81" * 1100 + b"\x00",
    HEAD + b"\xa1\x00" * 500 + b"\x00",
    HEAD + b"\x9f" * 1000,
    HEAD + b"\x5f" * 1000,
    HEAD + b"\xc1" * 1000 + b"\x00",
    *(HEAD + head + b"\xff" * 8 for head in (b"\x5b", b"\x7b", b"\x9b", b"\xbb", b"\xdb", b"\x1b", b"\x3b")),
    *(HEAD + head + b"\x7f" + b"\xff" * 7 for head in (b"\x5b", b"\x7b", b"\x9b", b"\xbb", b"\xdb")),
    *(HEAD + head + b"\x7f\xff\xff\xff" for head in (b"\x5a", b"\x7a", b"\x9a", b"\xba")),
    b"\x9b" + b"\xff" * 8,
    # Tags: big numbers, references to strings and to values, rationals, patterns, addresses, sets.
    *(HEAD + bytes([0xC0 | tag]) + b"\x41\xff" for tag in (0, 1, 2, 3, 4, 5)),
    HEAD + b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01",
    HEAD + b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01",
    *(HEAD + bytes([0xD8, tag]) + b"\x82\x01\x00" for tag in (25, 28, 29, 30, 35, 36, 37, 43, 100)),
    HEAD + b"\xd8\x1c\x81\xd8\x1d\x00",
    HEAD + b"\xd8\x23\x6a(a+)+(a+)+",
    *(
        HEAD + b"\xd9" + tag.to_bytes(2, "big") + b"\x83\x01\x01\x01"
        for tag in (256, 258, 260, 261, 1004, 55799)
    ),
    HEAD + b"\xa2\x01\x01\x01\x02",
    HEAD + b"\xa1\xf9\x7e\x00\x01",
    *(
        HEAD + special
        for special in (b"\xf9\x7e\x00", b"\xfb\x7f\xf0" + bytes(6), b"\xf4", b"\xf6", b"\xf7", b"\xf8\xff")
    ),
    *(HEAD + reserved for reserved in (b"\x1c", b"\x5d", b"\x7e", b"\xdf", b"\xfc", b"\xff", b"\xf8\x00")),
    HEAD + b"\x62\xff\xfe",
]

Mutation = Callable[[bytes, random.Random], bytes]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3])):
        changed[rng.randrange(len(data))] = rng.choice(
            [0, 0x18, 0x1B, 0x40, 0x5B, 0x7F, 0x9F, 0xA1, 0xC2, 0xD8, 0xF9, 0xFF]
        )
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 8, 100])) + data[at:]


def remove(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 2, 8]) :]


def splice(data: bytes, rng: random.Random) -> bytes:
    other = encode(rng.randbytes(8), rng.choice(SAMPLES))
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def plant_bomb(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + rng.choice(BOMBS)[len(HEAD) :]


def shuffle_items(data: bytes, rng: random.Random) -> bytes:
    items = cbor2.loads(encode(rng.randbytes(8), rng.choice(SAMPLES)))
    rng.shuffle(items)
    return cbor2.dumps(items)


def junk(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice([0, 1, 11])] + rng.randbytes(rng.randint(0, MAX_DATAGRAM))


MUTATIONS: list[Mutation] = [
    flip_bits,
    set_bytes,
    truncate,
    insert,
    remove,
    splice,
    plant_bomb,
    shuffle_items,
    junk,
]


class HostileInputTests(SynchronousTestCase):
    def test_bombs(self) -> None:
        """Deep nesting, lengths beyond memory, tags, sets, floats and reserved heads: all are Malformed."""
        for bomb in BOMBS:
            self.assertRaises(Malformed, decode, bomb, verify_proof)

    def test_mutator(self) -> None:
        """A mutated message is Malformed, or a message with this one encoding."""
        rng = random.Random(14)
        accepted = 0
        for number in range(CASES):
            data = encode(rng.randbytes(8), SAMPLES[number % len(SAMPLES)])
            for _ in range(rng.choice([1, 1, 1, 3])):
                data = rng.choice(MUTATIONS)(data, rng) or b"\x82"
            try:
                rpc_id, message = decode(data, verify_proof)
            except Malformed:
                continue
            accepted += 1
            self.assert_one_encoding(data, rpc_id, message)
        self.assertTrue(0 < accepted < CASES / 2)

    def assert_one_encoding(self, data: bytes, rpc_id: bytes, message: Message) -> None:
        again = encode(rpc_id, message)
        # Contacts at addresses that no node can have are left out, and nothing else is.
        if len(again) == len(data):
            self.assertEqual(again, data)
        else:
            self.assertTrue(hasattr(message, "contacts") or hasattr(message, "nearer"))
            self.assertLess(len(again), len(data))
        self.assertEqual(decode(again, verify_proof), (rpc_id, message))
