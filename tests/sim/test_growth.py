"""The scenario `growth`: what is expected of a size, and what is measured at it."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import K
from dht14.session.plaintext import PLAIN, PROBE
from dht14.sim.growth import MESSAGE_AT, SEALED_BYTES, Meter, expected_contacts, expected_hops
from dht14.sim.scenarios import SCENARIOS
from dht14.wire.datagram import encode
from dht14.wire.messages import FindNode, Ping, Pong


class ExpectationTests(SynchronousTestCase):
    def test_hops(self) -> None:
        """One hop where each bucket holds its whole range; the buckets of the code need two in a network of
        ten thousand; the hops grow with the logarithm of the nodes."""
        self.assertEqual([expected_hops(nodes) for nodes in (1, 2, 100, 300)], [1, 1, 1, 1])
        self.assertApproximates(expected_hops(10_000), 2, 0.01)
        self.assertApproximates(expected_hops(1_000_000), 3, 0.2)

    def test_narrow_buckets(self) -> None:
        """With buckets of one contact each hop brings one bit; wider buckets never need more hops."""
        self.assertEqual(expected_hops(4, lambda depth: 1), 0.5 * 2 + 0.25 * 1 + 0.25)
        for nodes in (100, 1_000, 10_000):
            self.assertGreaterEqual(expected_hops(nodes, lambda depth: K), expected_hops(nodes) - 0.01)

    def test_contacts(self) -> None:
        """A table has all nodes of a small network; of a large one K more for each doubling."""
        self.assertApproximates(expected_contacts(100), 100, 1)
        more = expected_contacts(1 << 21) - expected_contacts(1 << 20)
        self.assertEqual(more, K)


class MeterTests(SynchronousTestCase):
    def test_messages(self) -> None:
        """Datagrams count by message, whether its code has one byte or two; probes have none."""
        meter, head = Meter(), PLAIN + bytes(MESSAGE_AT - 1)
        sent = [head + encode(bytes(8), message) for message in (Ping(), Pong(7), Pong(8), FindNode(3))]
        for datagram in [*sent, PROBE + bytes(MESSAGE_AT + 7)]:
            meter.sent(datagram)
        self.assertEqual(dict(meter.datagrams), {Ping: 1, Pong: 2, FindNode: 1, object: 1})
        self.assertEqual(meter.sizes[Ping], len(sent[0]) + SEALED_BYTES)


class GrowthTests(SynchronousTestCase):
    def test_small(self) -> None:
        """Operations and upkeep have their figures: a PING every 5 s where all contacts are near, and for
        each check of a record an OFFER to each of the other holders, of which there may be nine."""
        result = evolve(SCENARIOS["growth"], nodes=14, values=10).run(1)
        self.assertTrue(result.kept)
        names = ("joins", "puts", "gets", "later gets")
        self.assertEqual([result.phases[name].count for name in names], [16, 10, 20, 20])
        self.assertEqual(set(result.hops), {1})
        notes = result.notes
        self.assertEqual((notes["hops of gets"], notes["hops of later gets"]), (1, 1))
        self.assertApproximates(notes["Ping per node and minute"], 12, 1)
        kinds = [notes[name] for name in notes if name.endswith(" per node and minute")]
        self.assertApproximates(notes["datagrams per node and minute"], sum(kinds[2:]), 1e-6)
        self.assertApproximates(notes["datagrams per record and check"], 16, 4)
        self.assertEqual(notes["contacts in a table, after half an hour"], 15)
        for what in ("puts", "gets", "later gets"):
            figures = result.phases[what]
            sealed = figures.bytes + SEALED_BYTES * figures.datagrams
            self.assertApproximates(notes[f"bytes of {what}"], sealed, 2)

    def test_brief(self) -> None:
        """Without the upkeep the operations are the same, and cost the same."""
        whole, brief = (
            evolve(SCENARIOS[name], nodes=6, values=3).run(1) for name in ("growth", "growth-brief")
        )
        del whole.phases["later gets"]
        self.assertEqual(whole.phases, brief.phases)
        self.assertLess(brief.virtual_seconds, 600)
        self.assertNotIn("datagrams per node and minute", brief.notes)
