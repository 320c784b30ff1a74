"""The published vectors of the messages: one of each code. `python -m tests.wire.test_vectors` prints them
for the page."""

import hashlib
import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.store import Refusal
from dht14.security.identity import Puzzle
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import (
    NO_TICKET,
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
    fingerprint,
    mark_of,
    view_of,
)
from dht14.wire.schema import SCHEMA
from tests import independent_peer
from tests.page import PAGE, hex_lines, rows, section, vectors

TOP = Path(__file__).parents[2]
RPC_ID = bytes(range(1, 9))
PUZZLE = Puzzle("vectors", 1)
NOW_MS = 1_700_000_000_000
SESSION = json.loads((TOP / "tests" / "session" / "vectors" / "session.json").read_text())
PROOFS = [bytes.fromhex(SESSION[f"proof of the {side}"]) for side in ("initiator", "responder")]
IDS = [PUZZLE.verify_proof(proof) for proof in PROOFS]
CONTACTS = (
    Contact(IDS[0], ("192.0.2.1", 8000), PROOFS[0]),
    Contact(IDS[1], ("2001:db8::2", 8001), PROOFS[1]),
)
KEY, VERSION, TTL_MS, VALUE, TICKET = (
    int.from_bytes(bytes(range(32)), "big"),
    NOW_MS << 16,
    600_000,
    b"hello",
    bytes(range(16)),
)
SMALL, LARGE = hashlib.sha256(VALUE).digest(), hashlib.sha256(bytes(2_000)).digest()
VECTORS: dict[int, tuple[str, Message]] = {
    1: ("", Ping()),
    2: ("target 00 01 … 1f", FindNode(KEY)),
    3: ("key 00 01 … 1f; view: the second, the first", FindValue(KEY, view_of(IDS[::-1]))),
    4: (
        "8 copies, neighbours the first and the second, `hello`, not a copy",
        Store(KEY, VERSION, TTL_MS, 8, fingerprint(IDS), VALUE),
    ),
    5: (
        "the same as a copy",
        Offer(KEY, VERSION, TTL_MS, 8, fingerprint(IDS), False, len(VALUE), SMALL, True),
    ),
    6: ("192.0.2.1 port 8000", Announce(CONTACTS[0].address)),
    7: ("", Resync()),
    8: ("", Resynced()),
    9: (
        "key 00 01 … 1f; view: the second, the first; a lease begins",
        Watch(KEY, view_of(IDS[::-1])),
    ),
    10: ("key 00 01 … 1f; the mark of the version with `hello`", Notify(KEY, mark_of(VERSION, SMALL))),
    11: ("", Describe()),
    12: (
        "key 00 01 … 1f, the same mark, 600 s, 8 copies",
        Inventory((InventoryEntry(KEY, mark_of(VERSION, SMALL), TTL_MS // 1000, 8),)),
    ),
    64: ("1,700,000,000,000", Pong(NOW_MS)),
    65: ("the first and the second; holds values", Nodes(CONTACTS)),
    66: ("8 copies, current, `hello`, no contacts", Value(VERSION, TTL_MS, 8, True, VALUE)),
    67: ("no contacts, current, 8 copies", Stored((), True, 8)),
    68: ("the version, no contacts", Outranked(VERSION, ())),
    69: ("no contacts, reason 3, an older record is held", Refused((), Refusal.NO_ROOM, True)),
    70: ("no contacts; the value fits a STORE", Wanted((), NO_TICKET)),
    71: (
        "8 copies, not current, not owned, 2,000 zeros, ticket 00 01 … 0f, the second",
        LargeValue(VERSION, TTL_MS, 8, False, False, 2_000, LARGE, TICKET, CONTACTS[1:]),
    ),
    72: ("the first and the second, kind 1, the version", Lapsed(CONTACTS, 1, VERSION)),
    73: (
        "60 s, the same mark, the second",
        Watching(60_000, mark_of(VERSION, SMALL), CONTACTS[1:]),
    ),
    74: ("`dht14/0.1.0`", Described(b"dht14/0.1.0")),
    75: ("the first entry", Lacking(1)),
}
"""By code: what the message says, and the message."""


NAMES = {
    code: re.sub(r"(?<!^)(?=[A-Z])", "_", entry.message.__name__).upper() for code, entry in SCHEMA.items()
}
"""By code: the name of the message on the page."""


def published() -> dict[int, tuple[str, bytes]]:
    """The examples of docs/protocol.md: name and bytes, by code."""
    return vectors(section("2.1"))


def table() -> dict[int, list[str]]:
    """The table of messages in docs/protocol.md: name, fields and replies, by code."""
    return {int(cells[0]): cells[1:] for cells in rows(section("2.1")) if cells[0].isdecimal()}


class VectorTests(SynchronousTestCase):
    """One message of each code."""

    def test_page(self) -> None:
        """docs/protocol.md shows each message as it is sent, and the decoder reads what the page shows."""
        shown = published()
        self.assertEqual({code: name for code, (name, _) in shown.items()}, NAMES)
        for code, (_, message) in VECTORS.items():
            self.assertEqual(shown[code][1].hex(), encode(RPC_ID, message).hex(), message)
            self.assertEqual(decode(shown[code][1], PUZZLE.verify_proof), (RPC_ID, message))

    def test_table(self) -> None:
        """The table of messages has every message, with every field and every reply."""
        self.assertEqual({code: name for code, (name, *_) in table().items()}, NAMES)
        codes = {entry.message: code for code, entry in SCHEMA.items()}
        for code, (_, fields, replies) in table().items():
            entry = SCHEMA[code]
            self.assertEqual(0 if fields == "–" else fields.count(",") + 1, len(entry.shapes), code)
            listed = {int(reply) for reply in replies.split(",") if reply}
            self.assertEqual(listed, {codes[reply] for reply in entry.replies}, code)

    def test_independent_peer(self) -> None:
        """The independent peer, written from the page, reads and writes the same bytes."""
        for code, (_, raw) in published().items():
            items = independent_peer.read_message(raw)
            self.assertEqual(items[:2], [RPC_ID, code])
            self.assertEqual(independent_peer.write_message(items), raw)

    def test_contacts(self) -> None:
        """It reads contacts with either family of addresses, in every message that has some, and computes
        their ids."""
        proofs = independent_peer.Proofs("vectors", 1)
        for code, index, expected in (
            (65, 2, CONTACTS),
            (71, 10, CONTACTS[1:]),
            (72, 2, CONTACTS),
            (73, 4, CONTACTS[1:]),
        ):
            contacts = independent_peer.read_message(published()[code][1])[index]
            assert isinstance(contacts, bytes)
            found = independent_peer.read_contacts(contacts)
            self.assertEqual(found, [(one.proof, *one.address) for one in expected])
            ids = [id_to_bytes(one.node_id) for one in expected]
            self.assertEqual([proofs.node_id(proof) for proof, _, _ in found], ids)

    def test_lines(self) -> None:
        """No line of the page is longer than 120 characters."""
        lines = PAGE.read_text().splitlines()
        self.assertEqual([line for line in lines if len(line) > 120], [])


if __name__ == "__main__":
    for code, (says, message) in VECTORS.items():
        print(f"{code} {NAMES[code]}" + (f": {says}" if says else ""))
        print(hex_lines(encode(RPC_ID, message)), end="")
