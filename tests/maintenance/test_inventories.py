import gc
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from dht14.maintenance.inventories import DueRecord, Inventories
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.inventory import MAX_ENTRIES, MAX_TTL_SECONDS
from dht14.wire.messages import Inventory
from tests.fakes import LATENCY, FakeRpc, Peer, verify_proof
from tests.node.holders import HoldersTestCase


class InventoriesTests(HoldersTestCase):
    """Node 1 asks the others."""

    def setUp(self) -> None:
        super().setUp()
        rpc = FakeRpc(self.network, self.one.contact, self.one.table, self.one.time)
        self.inventories = Inventories(rpc, self.network.clock)

    def due(self, count: int, *peers: Peer) -> list[DueRecord]:
        """This many records that all of these should get."""
        contacts = [peer.contact for peer in peers]
        return [DueRecord(self.record(key=key), list(contacts)) for key in range(1, count + 1)]

    def test_far_expiry(self) -> None:
        """A record that lives for longer than a message can say, because the clock was set back, does not
        spoil the inventory that it is in."""
        lasting = evolve(self.record(key=1), expires_at=self.network.clock.seconds() + 2 * MAX_TTL_SECONDS)
        due = [DueRecord(record, [self.cluster[1].contact]) for record in (lasting, self.record(key=2))]
        self.finish(self.inventories.lacking(due))
        (inventory,) = self.cluster[1].asked
        self.assertEqual(decode(encode(bytes(RPC_ID_BYTES), inventory), verify_proof)[1], inventory)

    def cancel(self, asking: "Deferred[Any]") -> None:
        """Cancel it: it ends at once and leaves no error behind."""
        asking.cancel()
        self.failureResultOf(asking)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled(self) -> None:
        """It can be cancelled while it waits for several contacts."""
        self.cancel(Deferred.fromCoroutine(self.inventories.lacking(self.due(60, *self.cluster[1:4]))))

    def test_cancelled_midway(self) -> None:
        """It can be cancelled while it waits for several answers of one contact."""
        asking = Deferred.fromCoroutine(self.inventories.lacking(self.due(5 * MAX_ENTRIES, self.cluster[1])))
        self.network.wait(1.5 * LATENCY)
        self.assertEqual(self.asked(Inventory), 5)
        self.cancel(asking)
