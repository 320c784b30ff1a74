"""Nodes that ask for what they missed, and are slow to answer what they are offered."""

from collections.abc import Callable
from functools import partial

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.node.ports import Respond
from dht14.node.responder import Responder
from dht14.records.record import Record, version_at
from dht14.sim.conditions import Conditions
from dht14.sim.host import VirtualNode
from dht14.wire.messages import FindValue, Inventory, Lacking, Offer, Outranked, Reply, Request, Resync, Value
from tests.scenarios.cluster import Cluster

NODES, VALUES, COPIES = 9, 3_000, 8
ASKING_INTERVAL = 30.0


@define(eq=False)
class SlowAsker(Responder):
    """Lacks everything; says of each record, just in time, that it has a newer one, and takes its time to
    send that."""

    _later: Callable[..., object] = field(kw_only=True)

    def answer(self, request: Request, sender: Contact, now: float, respond: Respond) -> None:
        """Answer as late as the other node waits."""
        if isinstance(request, Inventory):
            self._later(0.6, respond, Lacking((1 << len(request.entries)) - 1))
        elif isinstance(request, Offer):
            self._later(0.6, respond, Outranked(request.version + 1, ()))
        elif isinstance(request, FindValue):
            self._later(2.5, super().answer, request, sender, now, respond)
        else:
            super().answer(request, sender, now, respond)


class SlowAskersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster(NODES, Conditions.worldwide())
        self.world = self.cluster.world
        slow = self.cluster.world.hosts[-1]
        later = self.world.clock.callLater
        self.world.set_host(evolve(slow, make_responder=partial(SlowAsker, later=later)))
        self.cluster.join_all()
        self.slow = self.world.nodes[slow.number]
        self.give_values()

    def give_values(self) -> None:
        """Let the nodes nearest to each of many keys hold a record."""
        now = self.world.clock.seconds()
        holders = self.cluster.nodes()
        for number in range(VALUES):
            key = self.world.rng.getrandbits(256)
            record = Record(
                key=key,
                value=b"value %d" % number,
                version=version_at(now),
                expires_at=now + 80_000,
                replication=COPIES,
            )
            for node in sorted(holders, key=lambda node: node.contact.node_id ^ key)[:COPIES]:
                assert node.stack.store is not None
                node.stack.store.offer(record, now, lambda verdict: None)

    def ask_for_all(self, _: object = None) -> None:
        """Let the slow node ask all others for what it missed, again and again."""
        for node in self.cluster.nodes():
            if node is not self.slow:
                self.slow.stack.rpc.ask(node.contact, Resync()).addErrback(lambda _: None)
        self.world.clock.post(ASKING_INTERVAL, self.ask_for_all, None)

    def may_vote(self, node: VirtualNode, key: int) -> bool:
        """Whether a node has what it missed, as it tells another one."""
        replies: list[Reply] = []
        asker = next(other for other in self.cluster.nodes() if other not in (node, self.slow))
        asker.stack.rpc.ask(node.contact, FindValue(key)).addCallbacks(replies.append, lambda _: None)
        self.world.wait(1)
        return any(isinstance(reply, Value) and reply.current for reply in replies)

    def test_turns(self) -> None:
        """A node that answers as late as it can does not hold up another one that has lost its values: that
        one has them all, and votes, within a minute."""
        lost = next(node for node in self.cluster.nodes() if node is not self.slow)
        assert lost.stack.store is not None
        held = len(lost.stack.store)
        self.ask_for_all()
        self.world.wait(10)
        self.world.kill(lost)
        self.world.wait(20)
        back = self.world.start(lost.number)
        assert back.stack.store is not None
        self.world.wait(30)
        self.assertEqual(len(back.stack.store), held)
        key = back.stack.store.page(b"", self.world.clock.seconds()).records[0].key
        self.assertTrue(any(self.may_vote(back, key) for _ in range(30)))
