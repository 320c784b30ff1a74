import random
from collections.abc import Callable
from typing import cast

from attrs import evolve
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IUDPTransport
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.parameters import SUBNET_IN_BUCKET
from dht14.maintenance.periodic import Periodic
from dht14.net.api.metrics import ApiMetrics
from dht14.node.join import Retries
from dht14.node.policy import Policy
from dht14.records.receipt import NoRecord, PutOutcome
from dht14.records.record import Record
from dht14.records.store import Outcome, Verdict
from dht14.security.hello_limiter import HELLOS_PER_ADDRESS
from dht14.session import handshake as hs
from dht14.session.acceptor import CHALLENGES_PER_SECOND, Limits
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions
from dht14.sim.memory_store import MemoryStore
from dht14.sim.network import VirtualNetwork
from dht14.stack import Stack, StackOptions, StoreOptions
from dht14.stack_builder import build_stack
from dht14.wire.messages import Ping
from tests.fakes import BEGINNING, address_of, contact, identity
from tests.net.rpc.case import UdpRecorder
from tests.outcomes import acknowledged, value_of
from tests.stacks import stack_inputs

FAR = 1 << 255


class StackTests(SynchronousTestCase):
    """The objects of one node, wired together; on a virtual network where datagrams are needed."""

    def setUp(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.network = VirtualNetwork(self.clock, random.Random(1), Conditions())

    def stack(
        self,
        node_id: int,
        options: StackOptions | None = None,
        saved: tuple[Contact, ...] = (),
        sealed: bool = False,
    ) -> Stack:
        return build_stack(
            stack_inputs(
                identity(node_id),
                self.clock,
                evolve(options or StackOptions(), sealed=sealed),
                rng=random.Random(node_id),
                saved=saved,
            )
        )

    def start(self, stack: Stack, number: int) -> Stack:
        self.network.listen(address_of(number), stack.rpc)
        self.network.listen((address_of(number)[0], 9000), stack.probe)
        for service in stack.services:
            service.startService()
        return stack

    def test_nothing_opened(self) -> None:
        """Building a stack opens nothing and starts nothing."""
        stack = self.stack(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(stack.rpc.transport)

    def test_services(self) -> None:
        """A node has all passes; a bootstrap node has none for records."""
        names = [service.name for service in self.stack(1).services]
        self.assertEqual(
            names,
            [
                "standstill",
                "join",
                "watches",
                "liveness",
                "refresh",
                "sessions",
                "expiry",
                "republish",
                "repair",
                "resync",
                "resync of others",
                "late copies",
                "keep",
                "notifier",
            ],
        )
        bootstrap = self.stack(1, StackOptions(storage_limit=None))
        self.assertEqual([service.name for service in bootstrap.services], names[:6])
        self.assertIsNone(bootstrap.store)

    def test_together(self) -> None:
        """Two stacks join each other, and one gets what the other puts."""
        self.start(self.stack(1), 1)
        other = self.start(self.stack(FAR, StackOptions(seeds=(Seed(*address_of(1)),))), 2)
        self.clock.run_until(BEGINNING + 5)
        self.assertTrue(other.join.joined)
        put = other.node.put(7, b"value", 60, 0).addCallback(acknowledged)
        self.clock.run_until(BEGINNING + 10)
        self.assertTrue(self.successResultOf(put))
        got = other.node.get(7)
        self.clock.run_until(BEGINNING + 15)
        self.assertEqual(value_of(self.successResultOf(got)), b"value")

    def test_metrics(self) -> None:
        """A snapshot has the metrics of all components, and does not change afterwards."""
        one = self.start(self.stack(1), 1)
        other = self.start(self.stack(FAR, StackOptions(seeds=(Seed(*address_of(1)),))), 2)
        self.clock.run_until(BEGINNING + 5)
        before = other.metrics(api=ApiMetrics(gets=3))
        other.node.put(7, b"value", 60, 0)
        self.clock.run_until(BEGINNING + 10)
        after = other.metrics()
        self.assertEqual((before.contacts, before.rpc.sent["STORE"].answered), (1, 0))
        self.assertEqual(
            (after.rpc.sent["STORE"].answered, after.puts.outcomes[PutOutcome.STORED_BY_ALL]), (1, 1)
        )
        self.assertEqual(one.metrics().rpc.received["STORE"].answered, 1)
        assert before.store is not None and after.store is not None
        self.assertEqual((before.store.records, after.store.records), (0, 1))
        self.assertEqual(after.store.largest_share, after.store.used)
        self.assertGreater(after.passes["resync"].succeeded, 0)
        self.assertGreater(after.hops.total(), before.hops.total())

    def test_samples(self) -> None:
        """Each value of a snapshot has a unique name with labels; a bootstrap node has no store."""
        bootstrap = self.stack(1, StackOptions(storage_limit=None))
        listed = self.stack(1).metrics(api=ApiMetrics(gets=3)).samples()
        names = [(sample.series.family.name, *sorted(sample.series.labels.items())) for sample in listed]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn(("dht14_api_requests_total", ("method", "GET")), names)
        self.assertIn(("dht14_maintenance_passes_total", ("outcome", "failed"), ("pass", "repair")), names)
        self.assertIsNone(bootstrap.metrics().store)

    def test_saved(self) -> None:
        """A stack finds its network with saved contacts only."""
        self.start(self.stack(1), 1)
        other = self.start(self.stack(FAR, saved=(contact(1, 1),)), 2)
        self.clock.run_until(BEGINNING + 5)
        self.assertTrue(other.join.joined)

    def test_options(self) -> None:
        """Policy, retries and the limit of the store reach their components."""
        policy = Policy(min_ttl=5, default_ttl=6, max_ttl=7)
        options = StackOptions(policy, storage_limit=1234, retries=Retries(0.5, 1))
        stack = self.start(self.stack(1, options), 1)
        assert stack.store is not None
        assert isinstance(stack.store, MemoryStore)
        self.assertEqual(stack.store.limit, 1234)
        self.successResultOf(stack.node.put(7, b"value", 86_400, 0))
        held = stack.store.get(7, self.clock.seconds())
        assert held is not None
        self.assertAlmostEqual(held.expires_at, self.clock.seconds() + 7, places=2)

    def test_subnets(self) -> None:
        """The table limits subnets, and those of private addresses only if the option says so."""
        for private, limited in ((False, [False, True]), (True, [True, True])):
            table = self.stack(1, StackOptions(limits=Limits(diversity_private=private))).table
            for host in ("10.0.0.1", "198.51.100.1"):
                for node_id in range(2, 9):
                    table.confirmed(Contact(node_id << 8 | len(host), (host, 8000)), 0.0, 0.1)
            counts = [
                sum(c.address[0] == host for c in table.contacts()) for host in ("10.0.0.1", "198.51.100.1")
            ]
            self.assertEqual([count == SUBNET_IN_BUCKET for count in counts], limited)

    def test_victim(self) -> None:
        """An address that a node names as its own and as that of a neighbour gets no additional HELLOs."""
        stack = self.stack(5, sealed=True)
        wire = UdpRecorder()
        for protocol in (stack.rpc, stack.probe):
            protocol.makeConnection(cast(IUDPTransport, wire))
        stack.rpc.ask(contact(7, 1), Ping()).addErrback(lambda _: None)
        stack.probe.announced(contact(8, 1), self.clock.seconds())
        self.clock.run_until(BEGINNING + 60)
        self.assertEqual([address for _, address in wire.sent], [address_of(1)] * HELLOS_PER_ADDRESS)

    def test_flood_of_hellos(self) -> None:
        """When unknown peers have used up their CHALLENGEs a contact of the table still gets one."""
        stack = self.stack(5, sealed=True)
        one, now = Contact(7, ("198.51.100.1", 8000)), self.clock.seconds()
        hello = hs.hello(bytes(8), bytes(32), None)

        def is_answered(address: Address) -> bool:
            return bool(stack.session_layer.received(hello, address, now)[2])

        answered = sum(is_answered((f"20.{n >> 8}.{n & 255}.1", 8000)) for n in range(CHALLENGES_PER_SECOND))
        self.assertLess(answered, CHALLENGES_PER_SECOND)
        self.assertFalse(is_answered(one.address))
        stack.table.confirmed(one, now, 0.1)
        self.assertTrue(is_answered(one.address))

    def test_make_store(self) -> None:
        """A store gets what it needs: the id of the node, the limit, and which records to keep."""
        made: list[StoreOptions] = []

        def make(options: StoreOptions) -> MemoryStore:
            made.append(options)
            return MemoryStore.of(options)

        stack = build_stack(
            stack_inputs(
                identity(5),
                self.clock,
                StackOptions(Policy(max_ttl=4321), storage_limit=1234, writer_share=2.0),
                make_store=make,
            )
        )
        (asked,) = made
        self.assertEqual((asked.own_id, asked.limit, asked.max_ttl, asked.writer_share), (5, 1234, 4321, 2.0))
        near = Record(key=7, value=b"v", version=1, expires_at=1e9, replication=8)
        self.assertTrue(asked.answers_for(near))
        self.assertIsInstance(stack.store, MemoryStore)

    def test_sweeps(self) -> None:
        """Expired records leave the store within two intervals, without a request."""
        stack = self.start(self.stack(1, StackOptions(Policy(min_ttl=1), cleanup_interval=100)), 1)
        self.successResultOf(stack.node.put(7, b"value", 1, 0))
        assert stack.store is not None
        self.assertEqual(len(stack.store), 1)
        self.clock.run_until(BEGINNING + 200)
        self.assertEqual(len(stack.store), 0)

    def test_liveness(self) -> None:
        """A dead contact is found without any request."""
        gone = self.start(self.stack(1), 1)
        other = self.start(self.stack(FAR, StackOptions(seeds=(Seed(*address_of(1)),))), 2)
        self.clock.run_until(BEGINNING + 5)
        self.assertTrue(other.table.has_live_contact())
        self.stop(gone)
        self.clock.run_until(BEGINNING + 30)
        self.assertFalse(other.table.has_live_contact())

    def stop(self, stack: Stack) -> bool:
        """Whether a pass was under way that has ended with the stop."""
        periodic = (service for service in stack.services if isinstance(service, Periodic))
        at_work = any(service._current is not None for service in periodic)
        ended = [maybeDeferred(service.stopService) for service in stack.services]
        stack.stop_calls()
        for one in ended:
            self.successResultOf(one)
        for protocol in (stack.rpc, stack.probe):
            assert protocol.transport is not None
            protocol.transport.stopListening()
        return at_work

    def test_stop(self) -> None:
        """A stack that is stopped, also in the middle of work, leaves no timer and logs nothing."""
        for moment in (0.0, 0.01, 1.0, 6.0, 1000.0):
            seeds = (Seed(*address_of(1)), Seed("10.9.9.9", 9))
            one, two = self.start(self.stack(1), 1), self.start(self.stack(FAR, StackOptions(seeds=seeds)), 2)
            self.clock.run_until(self.clock.seconds() + moment)
            got = two.node.get(99)
            for stack in (one, two):
                self.stop(stack)
            self.assertIsNone(value_of(self.successResultOf(got)))
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_get(self) -> None:
        """A get that the stop of its own node cuts short knows nothing of what the others have: neither that
        there is nothing, nor that its own copy is the newest. Content proves itself."""
        one = self.start(self.stack(1), 1)
        two = self.start(self.stack(FAR, StackOptions(seeds=(Seed(*address_of(1)),))), 2)
        self.clock.run_until(BEGINNING + 5)
        for stack, key, value, version in ((one, 99, b"new", 2), (one, 98, b"new", 2), (two, 98, b"old", 1)):
            assert stack.store is not None
            record = Record(key=key, value=value, version=version, expires_at=2 * BEGINNING, replication=8)
            stack.store.offer(record, self.clock.seconds(), lambda verdict: None)
        gets = [two.node.get(key) for key in (99, 98, 97)]
        for one_get in gets:
            self.assertNoResult(one_get)
        self.stop(two)
        gets.append(two.node.get(99))
        self.assertEqual([self.successResultOf(get) for get in gets], [NoRecord.UNANSWERED] * 4)

    def test_stop_refresh(self) -> None:
        """A refresh under way, without any answers, does not delay the stop."""
        waited = 0
        for tenth in range(160, 450, 3):
            self.setUp()
            one = self.start(self.stack(1), 1)
            options = StackOptions(refresh_interval=20, seeds=(Seed(*address_of(1)),))
            two = self.start(self.stack(FAR, options), 2)
            self.clock.run_until(BEGINNING + 5)
            self.stop(one)
            self.clock.run_until(BEGINNING + tenth / 10)
            waited += self.stop(two)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertGreater(waited, 0)


class ResponsibilityTests(SynchronousTestCase):
    """Records that a full store keeps."""

    def offer(self, stack: Stack, key: int) -> Outcome:
        verdicts: list[Verdict] = []
        tell: Callable[[Verdict], None] = verdicts.append
        assert stack.store is not None
        stack.store.offer(
            Record(key=key, value=bytes(1000), version=1, expires_at=1e9, replication=2), 0.0, tell
        )
        return verdicts[0].outcome

    def test_responsibility(self) -> None:
        """A full store evicts records that two other nodes are nearer to, never one that this node must
        hold."""
        stack = build_stack(stack_inputs(identity(0), HeapClock(), StackOptions(storage_limit=3000)))
        far = 1 << 255
        mine, ours = 1, 2
        self.assertEqual([self.offer(stack, key) for key in (far, ours)], [Outcome.HELD] * 2)
        self.assertEqual(self.offer(stack, mine), Outcome.REFUSED, "where nobody else is known, all are ours")
        for number in (1, 2):
            stack.table.confirmed(contact(far + number, number), 0.0, 0.01)
        self.assertEqual(self.offer(stack, mine), Outcome.HELD)
        assert stack.store is not None
        self.assertIsNone(stack.store.get(far, 0.0))
        self.assertEqual(self.offer(stack, mine + 2), Outcome.REFUSED)
