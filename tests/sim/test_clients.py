"""Clients that write the same keys at once."""

import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.records.record import Kind, Record, proven
from dht14.sim.clients import FaultPlan, Register, Workload, history
from dht14.sim.scenario import Scenario


class RegisterTests(SynchronousTestCase):
    def test_fit(self) -> None:
        """What is put under a key makes a record of the key's kind, and is authentic."""
        rng = random.Random(1)
        for turn, kind in enumerate(Kind):
            register = Register.of(turn, rng)
            for _ in range(5):
                value = register.next(rng, deletions=0.5)
                version = (
                    proven(
                        Record(key=register.key, value=value, version=0, expires_at=0, replication=8)
                    ).version
                    if kind is Kind.OWNER
                    else 0
                )
                record = Record(key=register.key, value=value, version=version, expires_at=0, replication=8)
                self.assertEqual((record.kind, record.is_authentic), (kind, True))

    def test_owner(self) -> None:
        """An owner's numbers never fall, some come twice, and some records are deletions."""
        rng = random.Random(1)
        register = Register.of(1, rng)
        records = [
            proven(
                Record(
                    key=register.key, value=register.next(rng, 0.2), version=0, expires_at=0, replication=8
                )
            )
            for _ in range(50)
        ]
        versions = [record.version for record in records]
        self.assertEqual((versions, versions[0]), (sorted(versions), 1))
        self.assertLess(len(set(versions)), 50)
        self.assertTrue(0 < sum(record.is_tombstone for record in records) < 50)


class HistoryTests(SynchronousTestCase):
    FAULT_PLAN = FaultPlan(restarts=6.0, deaths=4.0, joins=4.0, partition_seconds=10.0)
    WORKLOAD = Workload(seconds=75.0, put_interval=20.0, copies=(8, 8), junk=0.0)

    def test_repeatable(self) -> None:
        """The same seed gives the same run, whatever goes wrong in it; another seed another."""
        scenario = Scenario("history", "", history(self.FAULT_PLAN, self.WORKLOAD), nodes=12, values=3)
        first, again, other = (scenario.run(seed) for seed in (1, 1, 2))
        self.assertEqual((first.digest, first.notes), (again.digest, again.notes))
        self.assertNotEqual(first.digest, other.digest)
        self.assertGreater(first.notes["nodes killed"], 5)
        self.assertGreater(first.notes["open keys: gets"], 20)
