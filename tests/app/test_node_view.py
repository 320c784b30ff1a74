from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.node_events import totals
from dht14.app.node_view import RealNodeView
from dht14.app.options import NodeSettings, Role, Settings
from dht14.app.start import StartPhase, StartProgress
from dht14.app.state_file import StateFile
from dht14.database.metrics import CommitMetrics
from dht14.kademlia.keyspace import hash_id
from dht14.net.admin.view import HolderJson, NotStarted, RecordsJson, WatchesJson
from dht14.net.api.metrics import ApiMetrics
from dht14.net.api.readiness import StartStep
from dht14.records.receipt import PutOutcome
from dht14.records.record import Record
from dht14.records.store import PAGE_RECORDS, Refusal
from dht14.sim.host import VirtualNode
from dht14.sim.world import World
from tests.app.listener import Listener

DISK_FULL = "No space left on device"


class NodeViewCase(SynchronousTestCase):
    """One node of a virtual network, in the parts that a real one has around it."""

    def setUp(self) -> None:
        self.world = World(nodes=3, seed=1, bootstrap_nodes=1)
        data_dir = DataDir.open(self.mktemp())
        self.addCleanup(data_dir.close)
        self.disk = DiskMonitor(data_dir)
        self.progress = StartProgress(Role.NODE, self.world.clock, StateFile(data_dir))
        self.view = RealNodeView(
            settings=Settings(node=NodeSettings(network="tests")),
            role="node",
            progress=self.progress,
            disk=self.disk,
            clock=self.world.clock,
            p2p_address=("127.0.0.1", 8000),
            api_address=("::1", 7400),
        )

    def joined_node(self) -> VirtualNode:
        """Start the network; the view shows its last node, which has joined."""
        self.world.join()
        return self.show(self.world.nodes[3])

    def show(self, node: VirtualNode) -> VirtualNode:
        self.view.built(node.stack, node.stack.metrics)
        self.progress.built(node.stack)
        self.progress.entered(StartPhase.WORKING)
        self.disk.opened(0)
        self.progress.step_done(StartStep.VALUES)
        return node

    def give(self, node: VirtualNode, number: int, size: int = 5) -> None:
        now = self.world.clock.seconds()
        value = b"%d" % number + bytes(size)
        record = Record(key=hash_id(value), value=value, version=0, expires_at=now + 60, replication=8)
        assert node.stack.store is not None
        node.stack.store.offer(record, now, lambda verdict: None)


class BeforeTests(NodeViewCase):
    """A node that has no id yet."""

    def test_status(self) -> None:
        """There is a status without id, contacts and storage; nothing fails."""
        status = self.view.status()
        facts = status["node_id"], status["contacts"], status["storage"], status["network_size"]
        self.assertEqual(facts, (None, 0, None, None))
        self.assertEqual((status["network"], status["phase"], status["ready"]), ("tests", "bound", False))
        self.assertEqual((status["p2p_address"], status["api_address"]), ("127.0.0.1:8000", "[::1]:7400"))

    def test_not_started(self) -> None:
        """What needs a node fails, and says so."""
        for ask in (self.view.peers, self.view.table, lambda: self.view.records("", 10)):
            self.assertRaises(NotStarted, ask)
        for coroutine in (self.view.locate(1), self.view.trace(1)):
            self.failureResultOf(Deferred.fromCoroutine(coroutine), NotStarted)

    def test_samples(self) -> None:
        """The metrics of the process are there; those of the node are not."""
        self.assertIsNone(self.view.metrics())
        values = {sample.series.family.name: sample.value for sample in self.view.samples()}
        self.assertEqual(
            values,
            {
                "dht14_ready": 0,
                "dht14_cut_off": 0,
                "dht14_disk_trouble": 0,
                "dht14_database_set_aside": 0,
            },
        )

    def test_uptime(self) -> None:
        """The node is up since its view exists."""
        self.world.wait(7)
        self.assertEqual(self.view.status()["uptime"], 7)


class ReadinessTests(NodeViewCase):
    """Whether the node is ready, and why not."""

    def test_phases(self) -> None:
        """Each step of the start that is missing is a reason; with the last one the node is ready."""
        self.world.join()
        node = self.world.nodes[3]
        self.assertEqual(
            self.view.readiness()["reasons"],
            [
                "searching for the proof of work of the node id",
                "calling the seeds and saved contacts",
                "opening the database",
            ],
        )
        self.view.built(node.stack, node.stack.metrics)
        self.progress.built(node.stack)
        self.assertEqual(self.view.readiness()["reasons"], ["opening the database"])
        self.assertEqual(self.view.status()["advice"], "Starting: opening the database.")
        self.progress.entered(StartPhase.WORKING)
        self.progress.step_done(StartStep.VALUES)
        self.assertEqual(self.view.readiness(), {"ready": True, "reasons": []})
        self.assertEqual(self.view.status()["advice"], "All is well.")

    def test_stopping(self) -> None:
        """A node that ends is not ready, whatever it was before."""
        self.joined_node()
        self.progress.entered(StartPhase.ENDING)
        self.assertEqual(self.view.readiness(), {"ready": False, "reasons": ["the node is stopping"]})
        self.assertEqual(self.view.status()["advice"], "The node is stopping.")

    def test_failed(self) -> None:
        """A node that could not start says so, and where the reason is."""
        self.progress.entered(StartPhase.FAILED)
        self.assertEqual(self.view.readiness()["reasons"], ["the node could not start"])
        self.assertIn("log", self.view.status()["advice"])

    def test_alone(self) -> None:
        """A node that knows that it is alone is ready, and its advice says what to check."""
        alone = World(nodes=1, seed=1, bootstrap_nodes=0)
        self.show(alone.start(0))
        alone.wait(60)
        status = self.view.status()
        self.assertEqual((status["ready"], status["joined"], status["contacts"]), (True, False, 0))
        self.assertIn("[bootstrap]", status["advice"])

    def test_duplicate(self) -> None:
        """A node that has met another one with its identity says where that is."""
        rpc = self.joined_node().stack.rpc
        rpc.duplicates.reply_received(bytes(8), ("192.0.2.9", 8000), self.world.clock.seconds())
        self.assertIn("at 192.0.2.9:8000, has the identity of this one", self.view.status()["advice"])

    def test_cut_off(self) -> None:
        """A node that nobody answers any more is not ready; it is again when somebody does."""
        node = self.joined_node()
        self.assertTrue(self.view.readiness()["ready"])
        self.world.partition([3])
        self.world.wait(40)
        status = self.view.status()
        self.assertEqual((status["ready"], status["cut_off"]), (False, True))
        self.assertEqual(status["reasons"], ["hardly any contact answers: this node is cut off"])
        self.assertIn("firewall", status["advice"])
        self.assertEqual({s.series.family.name: s.value for s in self.view.samples()}["dht14_cut_off"], 1)
        self.world.partition()
        self.world.wait(120)
        self.assertEqual((self.view.readiness()["ready"], len(node.stack.table) > 0), (True, True))

    def test_disk(self) -> None:
        """A disk that takes no values makes the node unready; the advice says what to do."""
        self.joined_node()
        self.disk.writing_failed(DISK_FULL)
        status = self.view.status()
        self.assertEqual((status["ready"], status["reasons"]), (False, ["the database cannot be written"]))
        assert status["storage"] is not None
        self.assertEqual(status["storage"]["trouble"], "the database cannot be written")
        self.assertIn("Free space", status["advice"])
        self.assertEqual(
            {s.series.family.name: s.value for s in self.view.samples()}["dht14_disk_trouble"], 1
        )
        self.disk.writing_resumed()
        self.assertTrue(self.view.readiness()["ready"])

    def test_full_store(self) -> None:
        """A store that is nearly full does not make the node unready; the advice names the option."""
        world = World(
            nodes=1, seed=1, bootstrap_nodes=1, options=evolve(self.world.options, storage_limit=40_000)
        )
        world.join()
        node = self.show(world.nodes[1])
        for number in range(60):
            self.give(node, number, 1_000)
        status = self.view.status()
        self.assertTrue(status["ready"])
        self.assertIn("storage_limit", status["advice"])


class ContactTests(NodeViewCase):
    def test_peers(self) -> None:
        """Contacts are listed nearest first, with what is known of each."""
        node = self.joined_node()
        peers = self.view.peers()
        own_id = node.stack.table.own_id
        ids = [int(peer["node_id"], 16) for peer in peers]
        self.assertEqual(len(ids), 3)
        self.assertEqual(ids, sorted(ids, key=own_id.__xor__))
        for peer in peers:
            self.assertEqual(peer["shared_bits"], 256 - (own_id ^ int(peer["node_id"], 16)).bit_length())
            self.assertGreaterEqual(peer["last_seen"], 0)
            self.assertGreater(peer["rtt"], 0)
        self.assertEqual(sum(not peer["holds_values"] for peer in peers), 1, "the bootstrap node")

    def test_table(self) -> None:
        """The buckets have all contacts, each once."""
        self.joined_node()
        buckets = self.view.table()
        self.assertEqual([bucket["depth"] for bucket in buckets], list(range(len(buckets))))
        listed = sorted(peer["node_id"] for bucket in buckets for peer in bucket["contacts"])
        self.assertEqual(listed, sorted(peer["node_id"] for peer in self.view.peers()))

    def test_watches(self) -> None:
        """The status counts the watches of clients, the keys that they watch, and the leases."""
        watches = self.joined_node().stack.node.watches
        none = WatchesJson(clients=0, keys=0, leases=0)
        self.assertEqual(self.view.status()["watches"], none)
        first, second = (watches.watch(8, lambda state: None) for _ in range(2))
        assert first is not None and second is not None
        self.assertEqual(self.view.status()["watches"], WatchesJson(clients=2, keys=1, leases=0))
        for subscription in (first, second):
            subscription.end()
        self.assertEqual(self.view.status()["watches"], none)


class RecordTests(NodeViewCase):
    """The records held here, page by page."""

    def setUp(self) -> None:
        super().setUp()
        self.node = self.joined_node()

    def pages(self, limit: int) -> list[RecordsJson]:
        pages = [self.view.records("", limit)]
        while (after := pages[-1]["next"]) is not None:
            pages.append(self.view.records(after, limit))
        return pages

    def test_all(self) -> None:
        """The pages have each record once, and never a value."""
        for number in range(count := 2 * PAGE_RECORDS + 5):
            self.give(self.node, number)
        pages = self.pages(10)
        self.assertEqual(len(pages), 3)
        records = [record for page in pages for record in page["records"]]
        self.assertEqual(len({record["key"] for record in records}), count)
        self.assertEqual(len(records), count)
        self.assertNotIn("value", records[0])
        self.assertEqual((records[0]["kind"], records[0]["deleted"]), ("content", False))
        self.assertEqual(len(self.pages(10_000)), 1)

    def test_empty(self) -> None:
        """A node without records has one empty page."""
        self.assertEqual(self.pages(10), [{"records": [], "next": None}])

    def test_bootstrap(self) -> None:
        """So has a node without a store."""
        self.show(self.world.nodes[0])
        self.assertEqual(self.pages(10), [{"records": [], "next": None}])
        self.assertIsNone(self.view.status()["storage"])

    def test_wrong_cursor(self) -> None:
        """What no page has given as its next is refused."""
        for cursor in ("x", "a", "0 ", " 00", "AB", "ab" * 65, "é"):
            with self.assertRaises(ValueError) as refused:
                self.view.records(cursor, 10)
            self.assertIn("cursor", str(refused.exception))


class ValueTests(NodeViewCase):
    """Values, and what the network knows of them."""

    def setUp(self) -> None:
        super().setUp()
        self.joined_node()
        put = Deferred.fromCoroutine(self.view.put(7, b"value", 60, 0))
        self.world.wait(5)
        self.assertIs(self.successResultOf(put).outcome, PutOutcome.STORED_BY_ALL)

    def test_get(self) -> None:
        """What was put is found."""
        got = Deferred.fromCoroutine(self.view.get(7, False))
        self.world.wait(5)
        self.assertEqual(self.successResultOf(got).value, b"value")

    def test_trace(self) -> None:
        """A trace has outcome, times and steps; one of a key without a record has those, too."""
        for key, outcome, size in ((7, "found", 5), (8, "not found", None)):
            tracing = Deferred.fromCoroutine(self.view.trace(key))
            self.world.wait(5)
            trace = self.successResultOf(tracing)
            self.assertEqual((trace["key"], trace["outcome"]), (f"{key:064x}", outcome))
            self.assertEqual(trace["value_bytes"], size)
            self.assertGreater(len(trace["steps"]), 0)
            for step in trace["steps"]:
                self.assertTrue(0 <= step["sent_at"] <= trace["seconds"])

    def test_locate(self) -> None:
        """Each near node says what it holds, in words; this node is among them if it holds the key. The
        nearest is first."""
        located: dict[int, list[HolderJson]] = {}
        for key in (7, 8):
            locating = Deferred.fromCoroutine(self.view.locate(key))
            self.world.wait(5)
            located[key] = self.successResultOf(locating)
        outcomes = sorted((holder["outcome"], holder["this_node"]) for holder in located[7])
        holds = [("holds", False), ("holds", False), ("holds", True)]
        self.assertEqual(outcomes, [*holds, ("stores no values", False)])
        distances = [int(holder["node_id"], 16) ^ 7 for holder in located[7]]
        self.assertEqual(distances, sorted(distances))
        (own,) = [holder for holder in located[7] if holder["this_node"]]
        self.assertEqual((own["node_id"], own["bytes"]), (self.view.status()["node_id"], 5))
        self.assertEqual([holder for holder in located[8] if holder["this_node"]], [])

    def test_walk(self) -> None:
        """A walk yields each other node, and at last the sums."""
        listener = Listener(self.view.walk(100))
        walking = listener.listen()
        self.world.wait(5)
        self.successResultOf(walking)
        *nodes, (kind, end) = listener.received
        self.assertEqual([kind for kind, _ in nodes], ["node"] * 3)
        self.assertEqual(sorted(node["holds_values"] for _, node in nodes), [False, True, True])
        self.assertTrue(all(node["reachable"] and node["rtt"] > 0 for _, node in nodes))
        self.assertEqual((kind, end["nodes"], end["reachable"], end["unasked"]), ("end", 3, 3, 0))

    def test_totals(self) -> None:
        """The sums of the dashboard follow the metrics, and a percentile is not below a lower one."""
        before = totals(self.view.metrics())
        got = Deferred.fromCoroutine(self.view.get(8, False))
        self.world.wait(5)
        self.successResultOf(got)
        after = totals(self.view.metrics())
        self.assertGreater(after["sent"] or 0, before["sent"] or 0)
        self.assertEqual(after["failed"], 0)
        self.assertGreater(after["p99"] or 0, 0)
        self.assertGreaterEqual(after["p99"] or 0, after["p50"] or 0)

    def test_refusals(self) -> None:
        """A refusal counts in the sums if somebody has to do something about it: a full store, not a
        bootstrap node."""
        metrics = self.view.metrics()
        assert metrics is not None
        before = totals(metrics)["refused"] or 0
        for reason in Refusal:
            metrics.rpc.refusals_received[reason] += 1
        metrics.rpc.refusals_sent[Refusal.NO_ROOM] += 1
        troubling = {Refusal.NO_ROOM, Refusal.SHARE, Refusal.VERSION, Refusal.INVALID}
        self.assertEqual((totals(metrics)["refused"] or 0) - before, len(troubling) + 1)

    def test_latencies(self) -> None:
        """The latencies of clients and of the disk are percentiles, too; None without any."""
        metrics = self.view.metrics()
        assert metrics is not None
        self.assertEqual((totals(metrics)["api_p99"], totals(metrics)["commit_p99"]), (None, None))
        metrics.api, metrics.commits = ApiMetrics(), CommitMetrics()
        self.assertEqual((totals(metrics)["api_p99"], totals(metrics)["commit_p99"]), (None, None))
        metrics.api.put_latency.observe(0.02)
        metrics.commits.latency.observe(0.003)
        self.assertEqual((totals(metrics)["api_p99"], totals(metrics)["commit_p99"]), (0.025, 0.005))
