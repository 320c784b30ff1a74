import os
import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "300"))
"""Inputs made of each target's seeds; more are for `tox -e fuzz`."""


class TargetTests(SynchronousTestCase):
    """What no guidance is needed for: the seeds of each target, and changes to them. One test for each, below."""

    def assert_holds(self, target: Target) -> None:
        rng = random.Random(14)
        seeds = target.seeds()
        self.assertTrue(seeds)
        for seed in [b"", *seeds]:
            target.run(seed)
        for _ in range(MUTATIONS):
            raw = mutated(rng, rng.choice(seeds))[: target.longest]
            try:
                target.run(raw)
            except BaseException:
                print(f"the input that found it, for {target.corpus}: {raw.hex()}")
                raise


def _test(target: Target) -> Callable[[Any], None]:
    def test(self: TargetTests) -> None:
        self.assert_holds(target)

    test.__doc__ = target.run.__doc__
    return test


for _target in TARGETS.values():
    setattr(TargetTests, f"test_{_target.name}", _test(_target))
