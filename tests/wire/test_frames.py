from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.wire.frames import MAX_FRAME, MIN_FRAME, FrameSplitter


def framed(body: bytes) -> bytes:
    return (2 + len(body)).to_bytes(2, "big") + body


def whole_frames(splitter: FrameSplitter) -> list[bytes]:
    frames = []
    while (frame := splitter.next_frame()) is not None:
        frames.append(frame)
    return frames


class FrameSplitterTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(
        bodies=st.lists(st.binary(min_size=2, max_size=200), max_size=20),
        cuts=st.lists(st.integers(0, 4000), max_size=30),
    )
    def test_any_split(self, bodies, cuts) -> None:
        """However a stream is cut into pieces, the same frames come out, in order."""
        frames = [framed(body) for body in bodies]
        stream = b"".join(frames)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        splitter, got = FrameSplitter(), []
        for begin, end in pairwise(edges):
            splitter.feed(stream[begin:end])
            got += whole_frames(splitter)
        self.assertEqual(got, frames)
        self.assertFalse(splitter.begun)

    def test_pulled_late(self) -> None:
        """Frames that are not pulled stay, whatever is fed meanwhile."""
        splitter = FrameSplitter()
        frames = [framed(bytes([n]) * (n + 2)) for n in range(50)]
        got: list[bytes | None] = []
        for frame in frames:
            splitter.feed(frame[:3])
            if len(got) % 2:
                got.append(splitter.next_frame())
            splitter.feed(frame[3:])
            got.append(splitter.next_frame())
        got += whole_frames(splitter)
        self.assertEqual([frame for frame in got if frame is not None], frames)

    def test_largest_byte_by_byte(self) -> None:
        """A frame of 65,535 bytes may come one byte at a time."""
        frame = framed(bytes(MAX_FRAME - 2))
        splitter = FrameSplitter()
        for at in range(MAX_FRAME - 1):
            splitter.feed(frame[at : at + 1])
        self.assertIsNone(splitter.next_frame())
        splitter.feed(frame[-1:])
        self.assertEqual(splitter.next_frame(), frame)

    def test_begun(self) -> None:
        """A message has begun from its first byte until it was pulled."""
        splitter = FrameSplitter()
        begun = [splitter.begun]
        for piece in (b"\x00", b"\x04\x00", b"\x00"):
            splitter.feed(piece)
            begun.append(splitter.begun)
        splitter.next_frame()
        begun.append(splitter.begun)
        self.assertEqual(begun, [False, True, True, True, False])

    def test_head_that_cannot_be(self) -> None:
        """An impossible frame is refused by its first four bytes, not before, and after the good ones."""
        heads: list[tuple[int, int]] = []

        def check(size: int, kind: int) -> None:
            heads.append((size, kind))
            if kind != 7:
                raise Malformed("unknown type")

        splitter = FrameSplitter(check)
        splitter.feed(b"\x00\x05\x00\x07!" + b"GET")
        self.assertEqual(splitter.next_frame(), b"\x00\x05\x00\x07!")
        self.assertIsNone(splitter.next_frame())
        splitter.feed(b" ")
        self.assertRaises(Malformed, splitter.next_frame)
        self.assertEqual(heads, [(int.from_bytes(b"GE", "big"), int.from_bytes(b"T ", "big"))])

    def test_too_small(self) -> None:
        """A size that does not cover the header is malformed as soon as it is known, after the good
        frames."""
        for size in range(MIN_FRAME):
            splitter = FrameSplitter()
            splitter.feed(b"\x00\x04ok" + size.to_bytes(2, "big"))
            self.assertEqual(splitter.next_frame(), b"\x00\x04ok")
            self.assertRaises(Malformed, splitter.next_frame)
