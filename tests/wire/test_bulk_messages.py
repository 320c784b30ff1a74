from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.wire.bulk_messages import FrameKind, decode_answer, encode_answer, tag_of
from dht14.wire.datagram import encode
from dht14.wire.frames import MAX_FRAME
from dht14.wire.messages import Outranked, Pong, Refused, Stored, Value
from tests.fakes import contact, verify_proof
from tests.page import section, vectors

TICKET = bytes(range(16))
TAG = bytes(range(8))
RECEIPT = Stored((), True, 8)
VECTORS = {
    "ANSWER": ("STORED without contacts, current, 8 copies", encode_answer(TICKET, RECEIPT)),
    "VALUE": ("the value `hello`", encode_answer(TICKET, b"hello")),
    "GONE": ("", encode_answer(TICKET, None)),
}
"""The examples of docs/protocol.md: what each says, and its bytes."""


class AnswerTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """What is encoded is decoded, under the tag of its ticket."""
        for answer in (
            Stored(()),
            Outranked(7, (contact(3),)),
            Refused((contact(4), contact(5))),
            b"v",
            bytes(MAX_VALUE),
            None,
        ):
            self.assertEqual(decode_answer(encode_answer(TICKET, answer), verify_proof), (TAG, answer))
        self.assertEqual(tag_of(TICKET), TAG)

    def test_bytes(self) -> None:
        """Size, kind and tag are where docs/protocol.md says."""
        self.assertEqual(encode_answer(TICKET, None).hex(), "000c0003" + TAG.hex())
        self.assertEqual(encode_answer(TICKET, b"\xff").hex(), "000d0002" + TAG.hex() + "ff")
        self.assertEqual(
            encode_answer(TICKET, Stored(())).hex(), "00150001" + "8548" + TAG.hex() + "18434200000100"
        )

    def test_page(self) -> None:
        """docs/protocol.md shows a frame of each kind, which the code sends and decodes."""
        shown = vectors(section("5.3"))
        self.assertEqual(shown, {kind: (kind.name, VECTORS[kind.name][1]) for kind in FrameKind})
        for kind, answer in ((1, RECEIPT), (2, b"hello"), (3, None)):
            self.assertEqual(decode_answer(shown[kind][1], verify_proof), (TAG, answer))

    def test_largest(self) -> None:
        """The largest value fits a frame."""
        self.assertLessEqual(len(encode_answer(TICKET, bytes(MAX_VALUE))), MAX_FRAME)

    def test_refused(self) -> None:
        """Other kinds, lengths and messages are no answers."""

        def frame(kind: int, body: bytes) -> bytes:
            return (4 + len(body)).to_bytes(2, "big") + kind.to_bytes(2, "big") + body

        for wrong in (
            frame(0, TAG),
            frame(4, TAG),
            frame(1, b""),
            frame(1, encode(TAG, Pong())),
            frame(1, encode(TAG, Value(1, 1, 1, True, b"v"))),
            frame(2, TAG),
            frame(2, TAG[:7]),
            frame(2, TAG + bytes(MAX_VALUE + 1)),
            frame(3, TAG[:7]),
            frame(3, TAG + b"v"),
        ):
            self.assertRaises(Malformed, decode_answer, wrong, verify_proof)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(min_size=4, max_size=120))
    def test_any_bytes(self, frame: bytes) -> None:
        """Any bytes are an answer or Malformed."""
        try:
            tag, answer = decode_answer(frame, verify_proof)
        except Malformed:
            return
        self.assertEqual(decode_answer(encode_answer(tag + bytes(8), answer), verify_proof), (tag, answer))
