"""The published vectors of the messages: one of each code. `python -m tests.wire.test_vectors` prints the table."""

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
    SCHEMA,
    Announce,
    FindNode,
    FindValue,
    Lapsed,
    LargeValue,
    Message,
    Nodes,
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
    fingerprint,
    view_of,
)
from tests import independent_peer

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
    3: ("key 00 01 … 1f; view: the second node, the first", FindValue(KEY, view_of(IDS[::-1]))),
    4: (
        "8 copies, the two nodes as neighbours, `hello`, not a copy",
        Store(KEY, VERSION, TTL_MS, 8, fingerprint(IDS), VALUE),
    ),
    5: (
        "the same as a copy",
        Offer(KEY, VERSION, TTL_MS, 8, fingerprint(IDS), False, len(VALUE), SMALL, True),
    ),
    6: ("192.0.2.1 port 8000", Announce(CONTACTS[0].address)),
    7: ("", Resync()),
    8: ("", Resynced()),
    64: ("1,700,000,000,000", Pong(NOW_MS)),
    65: ("the two nodes; holds values", Nodes(CONTACTS)),
    66: ("8 copies, current, `hello`, no contacts", Value(VERSION, TTL_MS, 8, True, VALUE)),
    67: ("no contacts, current, 8 copies", Stored((), True, 8)),
    68: ("the version, no contacts", Outranked(VERSION, ())),
    69: ("no contacts, reason 3, an older record is held", Refused((), Refusal.NO_ROOM, True)),
    70: ("no contacts; the value fits a STORE", Wanted((), NO_TICKET)),
    71: (
        "8 copies, not current, not owned, 2,000 zeros, ticket 00 01 … 0f, the second node",
        LargeValue(VERSION, TTL_MS, 8, False, False, 2_000, LARGE, TICKET, CONTACTS[1:]),
    ),
    72: ("the two nodes, kind 1, the version", Lapsed(CONTACTS, 1, VERSION)),
}
"""By code: what the message says, and the message."""


def published() -> dict[int, bytes]:
    """The messages that docs/protocol.md shows, by code."""
    page = (TOP / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| (\d+) \|[^|]*\| `([0-9a-f]+)` \|$", page, re.MULTILINE)
    return {int(code): bytes.fromhex(raw) for code, raw in rows}


def fields_told() -> dict[int, int]:
    """How many fields docs/protocol.md says that each message has, by code."""
    section = (TOP / "docs" / "protocol.md").read_text().partition("### 2.1 ")[2]
    rows = re.findall(r"^\| (\d+) \| [A-Z_]+ \| ([^|]+) \| [^|]*\|$", section, re.MULTILINE)
    return {int(code): 0 if told == "–" else told.count(",") + 1 for code, told in rows}


class VectorTests(SynchronousTestCase):
    """One message of each code."""

    def test_page(self) -> None:
        """docs/protocol.md shows each message as it is sent, and what it shows is understood."""
        shown = published()
        self.assertEqual(shown.keys(), SCHEMA.keys())
        for code, (_, message) in VECTORS.items():
            self.assertEqual(shown[code].hex(), encode(RPC_ID, message).hex(), message)
            self.assertEqual(decode(shown[code], PUZZLE.verify_proof), (RPC_ID, message))

    def test_fields(self) -> None:
        """The table of messages has every field."""
        self.assertEqual(fields_told(), {code: len(entry.shapes) for code, entry in SCHEMA.items()})

    def test_second_implementation(self) -> None:
        """Another implementation, made from the page, reads and writes the same bytes."""
        for code, raw in published().items():
            items = independent_peer.read_message(raw)
            self.assertEqual(items[:2], [RPC_ID, code])
            self.assertEqual(independent_peer.write_message(items), raw)

    def test_contacts(self) -> None:
        """It reads contacts of either kind of address, and computes the ids of them."""
        contacts = independent_peer.read_message(published()[65])[2]
        assert isinstance(contacts, bytes)
        found = independent_peer.read_contacts(contacts)
        self.assertEqual(found, [(one.proof, *one.address) for one in CONTACTS])
        proofs = independent_peer.Proofs("vectors", 1)
        self.assertEqual([proofs.node_id(proof) for proof, _, _ in found], list(map(id_to_bytes, IDS)))


if __name__ == "__main__":
    for code, (says, message) in VECTORS.items():
        print(f"| {code} | {says} | `{encode(RPC_ID, message).hex()}` |")
