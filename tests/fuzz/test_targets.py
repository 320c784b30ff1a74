import contextlib
import io
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.wire.messages import Stored
from tests.fuzz import (
    bulk,
    differential,
    differential_frames,
    differential_sessions,
    nodes,
    reach,
    sealed_nodes,
    sessions,
)
from tests.fuzz.aims import AIMS
from tests.fuzz.differential_frames import before
from tests.fuzz.hellos import hello_of, steps_of
from tests.fuzz.mutations import mutated
from tests.fuzz.steps import steps
from tests.fuzz.targets import TARGETS, Target
from tests.independent_frames import REPLIES, REQUESTS, read_answer
from tests.independent_messages import written_again

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "300"))
"""Inputs made of each target's seeds; more are for `tox -e fuzz`."""


class TargetTests(SynchronousTestCase):
    """The seeds of each target and mutations of them, without guidance. One test for each target, below."""

    def assert_holds(self, target: Target) -> None:
        rng = random.Random(14)
        seeds = target.seeds()
        self.assertTrue(seeds)
        for seed in [b"", *seeds]:
            target.run(seed)
        for _ in range(MUTATIONS // target.cost):
            raw = mutated(rng, rng.choice(seeds))[: target.longest]
            try:
                target.run(raw)
            except BaseException:
                print(f"the input that found it, for {target.corpus}: {raw.hex()}")
                raise


class ReachTests(SynchronousTestCase):
    """The samples reach what they are made for: a target that reaches nothing finds nothing."""

    def test_aims(self) -> None:
        """Each target aims at something that is there, and `reach` counts the lines that it reaches."""
        self.assertEqual(set(AIMS), set(TARGETS))
        for aims in AIMS.values():
            for file in reach.files_of(aims):
                self.assertTrue(Path(file).is_file(), file)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.patch(sys, "argv", ["reach", "same_items"])
            self.assertEqual(reach.main(), 0)
        self.assertRegex(
            printed.getvalue(), r"(?m)^\| `same_items` \| \d+ \| \d+ \| \d+ \| [5-9]\d % \| [5-9]\d % \|$"
        )

    def test_node(self) -> None:
        """The steps of the node target answer its gets and puts."""
        results = []
        for sample in nodes.node_steps():
            trial = nodes.Trial()
            for what, data in steps(sample):
                trial.take(what, data)
            results += [outcome.result for outcome in trial.outcomes if outcome.called]
        self.assertGreater(sum(one is True for one in results), 3)
        self.assertTrue({b"value", b"content"} <= {one for one in results if isinstance(one, bytes)})

    def test_sealed_node(self) -> None:
        """Honest peers let the node put, get and find; it has sessions with all of them."""
        results: list[object] = []
        for sample in sealed_nodes.sealed_steps():
            trial = sealed_nodes.SealedTrial()
            for what, data in steps(sample):
                trial.take(what, data)
            trial.end()
            results += [outcome.result for outcome in trial.outcomes]
        self.assertGreater(sum(one is True for one in results), 3)
        self.assertTrue({b"value", b"content"} <= {one for one in results if isinstance(one, bytes)})
        self.assertEqual(len(trial.stack.table.contacts()), len(trial.peers))

    def test_same_items(self) -> None:
        """The samples are messages for both."""
        for sample in differential.item_steps():
            message = differential.message_of(sample)
            assert message is not None
            self.assertEqual(written_again(message, differential.PROOFS), message)

    def test_same_frames(self) -> None:
        """The samples have messages of all types for both."""
        found = {
            fields[0]
            for sample in differential_frames.frame_streams()
            for fields in before(sample[2:], REPLIES if sample[0] else REQUESTS)
        }
        self.assertEqual(found, {*REPLIES, *REQUESTS})

    def test_same_answers(self) -> None:
        """The samples have answers of all kinds for both."""
        frames = list(differential_frames.answer_streams())
        read = [read_answer(frame, differential.PROOFS) for frame in frames[:9]]
        self.assertEqual([kind for kind, _, _ in read], [1, 1, 1, 2, 3, 2, 1, 1, 1])

    def test_tls_bytes(self) -> None:
        """A hello that was taken apart and put together again is one that the holder goes on with."""
        sample = next(raw for raw in bulk.tls_hellos() if raw[:1] == b"\0")
        self.assertEqual(hello_of(b"".join(steps_of(hello_of(sample[1:])))), hello_of(sample[1:]))
        self.assertEqual(
            (bulk.said_by_holder(sample)[:1], bulk.said_by_holder(b"\0")[:1]), (b"\x16", b"\x15")
        )

    def test_same_session(self) -> None:
        """The samples begin sessions in both roles, and both take packets in them."""
        accepted = opened = taken = 0
        for sample in differential_sessions.same_steps():
            both = differential_sessions.Both()
            for what, data in steps(sample):
                both.take(what, data)
            accepted += both.layer.metrics.accepted
            opened += both.layer.metrics.opened
            taken += len(both.taken) + len(both.its_taken)
        self.assertGreater(min(accepted, opened), 1)
        self.assertGreater(taken, 8)

    def test_bulk_holder(self) -> None:
        """The holder of the bulk target gives and takes values."""
        answers = []
        for sample in bulk.holder_steps():
            peer = bulk.Peer()
            for what, data in steps(sample):
                peer.take(what, data)
            answers += peer.answers()
        self.assertTrue(bulk.VALUE in answers and any(isinstance(answer, Stored) for answer in answers))

    def test_sealed_session(self) -> None:
        """Both sides of the session target begin, use and end sessions."""
        called = unauthentic = 0
        for sample in sessions.session_steps():
            trial = sessions.Trial()
            for what, data in steps(sample):
                trial.take(what, data)
            unauthentic += trial.layer.metrics.unauthentic
            called += sessions.CALLEE_AT in trial.layer.sessions.by_address
        self.assertGreaterEqual(called, 2)
        self.assertGreater(unauthentic, 0)


def _test(target: Target) -> Callable[[Any], None]:
    def test(self: TargetTests) -> None:
        self.assert_holds(target)

    test.__doc__ = target.run.__doc__
    return test


for _target in TARGETS.values():
    setattr(TargetTests, f"test_{_target.name}", _test(_target))
