from typing import Any

from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id
from dht14.net.admin.view import KeptValueJson, NotStarted
from dht14.records.kept import KeepRefusal, KeptBy
from dht14.records.receipt import NoRecord
from dht14.sim.host import VirtualNode
from tests.app.test_node_view import NodeViewCase

KEY = hash_id(b"a key")


class KeepingViewTests(NodeViewCase):
    def keep(self, value: bytes = b"", version: int | None = None, key: int = KEY) -> Any:
        kept = Deferred.fromCoroutine(self.view.keeping.keep(key, value, version, 600, 0, KeptBy.KEY))
        self.world.wait(10)
        return self.successResultOf(kept)

    def put(self, node: VirtualNode, value: bytes) -> None:
        put = node.stack.node.put(KEY, value, 600, 0)
        self.world.wait(10)
        self.assertTrue(self.successResultOf(put).acknowledged)

    def test_before(self) -> None:
        """Before there is a node, nothing is kept and nothing is listed."""
        self.assertIsNone(self.view.keeping.status())
        self.assertRaises(NotStarted, self.view.keeping.page, "", 10)
        failed = Deferred.fromCoroutine(self.view.keeping.unkeep(KEY, KeptBy.KEY))
        self.failureResultOf(failed, NotStarted)

    def test_bootstrap_node(self) -> None:
        """A bootstrap node has an empty list, and says that it keeps nothing."""
        self.world.join()
        self.show(self.world.nodes[0])
        self.assertIsNone(self.view.keeping.status())
        self.assertEqual(self.view.keeping.page("", 10)["values"], [])
        self.assertIs(self.keep(b"value", 7), KeepRefusal.NO_VALUES)
        removed = Deferred.fromCoroutine(self.view.keeping.unkeep(KEY, KeptBy.KEY))
        self.assertIs(self.successResultOf(removed), KeepRefusal.NO_VALUES)

    def test_found(self) -> None:
        """What is found under a key is kept and listed, with its version and its times; then it is let go."""
        node = self.joined_node()
        self.assertIs(self.keep(), NoRecord.NOT_FOUND)
        self.put(node, b"value")
        kept: KeptValueJson = self.keep()
        self.assertEqual((kept["key"], kept["bytes"], kept["state"]), (f"{KEY:064x}", 5, "renewed"))
        self.assertTrue(kept["due_in"] <= 0 < kept["expires_in"] <= 600)
        page = self.view.keeping.page("", 10)
        self.assertEqual(([one["key"] for one in page["values"]], page["next"]), ([f"{KEY:064x}"], None))
        self.assertTrue(0 < page["used"] < page["limit"])
        self.assertEqual(page["values"][0]["by"], ["key"])
        for left in (KeptBy(0), None):
            removed = Deferred.fromCoroutine(self.view.keeping.unkeep(KEY, KeptBy.KEY))
            self.assertEqual(self.successResultOf(removed), left)

    def test_given(self) -> None:
        """A value that was just put is kept without a look at the network; without its version it is not."""
        self.joined_node()
        self.assertIs(self.keep(b"value"), KeepRefusal.NO_VERSION)
        kept: KeptValueJson = self.keep(b"value", 7)
        self.assertEqual((kept["version"], kept["kind"]), (7, "open"))

    def test_cursor(self) -> None:
        """Pages follow each other; what is no cursor is refused."""
        self.joined_node()
        for key in range(3):
            self.keep(b"value", 7, key)
        first = self.view.keeping.page("", 2)
        assert first["next"] is not None
        rest = self.view.keeping.page(first["next"], 2)
        self.assertEqual((len(first["values"]), len(rest["values"]), rest["next"]), (2, 1, None))
        self.assertRaises(ValueError, self.view.keeping.page, "x", 2)

    def test_failing(self) -> None:
        """The state of the node says that renewals fail, and what to do."""
        node = self.joined_node()
        self.put(node, b"value")
        self.keep()
        self.world.wait(20)
        status = self.view.status()
        assert status["kept"] is not None
        self.assertEqual(status["kept"]["values"], 1)
        self.assertEqual(status["advice"], "All is well.")
        assert node.stack.keeper is not None
        node.stack.keeper.metrics.failing = 1
        self.assertIn("Kept values that could not be renewed: 1 of 1.", self.view.status()["advice"])
