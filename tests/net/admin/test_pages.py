from dht14.kademlia.keyspace import hash_id
from dht14.net.admin.endpoint import MAX_OPERATIONS
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record
from tests.net.admin.case import GONE, AdminCase, key_of
from tests.owners import Owner


class ProbeTests(AdminCase):
    def test_health(self) -> None:
        """The health page answers 200 whatever the state of the node."""
        self.view.reasons = ["joining"]
        self.assertEqual(self.ask("GET", "/healthz").status, 200)

    def test_ready(self) -> None:
        """The readiness page answers 503 with the reasons until there are none."""
        self.view.reasons = ["joining"]
        response = self.ask("GET", "/readyz")
        self.assertEqual((response.status, response.content), (503, {"ready": False, "reasons": ["joining"]}))
        self.view.reasons = []
        self.assertEqual(self.ask("GET", "/readyz").status, 200)


class NodeTests(AdminCase):
    def test_json(self) -> None:
        """Status, contacts and buckets are JSON."""
        self.assertEqual(self.ask("GET", "/v1/status").content, self.view.status())
        self.assertEqual(self.ask("GET", "/v1/peers").content, {"peers": self.view.peers()})
        self.assertEqual(self.ask("GET", "/v1/table").content, {"buckets": self.view.table()})

    def test_parameters(self) -> None:
        """An unknown parameter is refused with the nearest name, one out of bounds with the bounds."""
        response = self.ask("GET", "/v1/records?limits=3")
        self.assertEqual((response.status, response.content["hint"]), (400, "Did you mean limit?"))
        self.assertEqual(self.ask("GET", "/v1/status?x=1").status, 400)
        for limit in ("0", "1001", "-1", "x", "1.5", "", "²", "1" * 5_000):
            self.assertEqual((limit, self.ask("GET", f"/v1/records?limit={limit}").status), (limit, 400))
        self.assertEqual(self.ask("GET", "/v1/records?limit=1&limit=2").status, 400)
        self.assertEqual(self.ask("GET", "/v1/records?after=never").status, 400)

    def test_log_level(self) -> None:
        """The level is in the query or in the body; an unknown one is refused with those that are known."""
        self.assertEqual(self.ask("POST", "/v1/loglevel?level=debug").status, 200)
        self.assertEqual(self.ask("POST", "/v1/loglevel", b"debug\n").status, 200)
        response = self.ask("POST", "/v1/loglevel", b"loud")
        self.assertEqual((response.status, response.content["error"]), (400, "levels are: debug"))
        self.assertEqual(self.view.levels, ["debug", "debug"])


class ValueTests(AdminCase):
    def test_get(self) -> None:
        """A value is sent as its bytes; its record is described in the headers."""
        self.view.found = Record(key=7, value=b"\x00v\n", version=9, expires_at=60.0, replication=8)
        response = self.ask("GET", f"/v1/values/{key_of(7)}")
        self.assertEqual((response.status, response.body), (200, b"\x00v\n"))
        self.assertEqual(response.headers["content-type"], "application/octet-stream")
        self.assertEqual(response.headers["x-dht14-version"], "9")
        self.assertEqual(response.headers["x-dht14-expires-in"], "60")
        self.assertEqual(self.view.gets, [(7, False)])

    def test_keys(self) -> None:
        """A key is text too, percent-encoded; one that is none is refused with the reason."""
        self.ask("GET", "/v1/values/caf%C3%A9%20au%20lait?content=1")
        self.assertEqual(self.view.gets, [(hash_id("café au lait".encode()), True)])
        self.assertEqual(self.ask("GET", "/v1/values/bad").content["error"], "the key is bad")
        self.assertEqual(self.ask("GET", "/v1/values/k?content=yes").status, 400)

    def test_missing(self) -> None:
        """Each reason for which there is no record has its status."""
        statuses = {}
        for self.view.found in NoRecord:
            statuses[self.view.found] = self.ask("GET", "/v1/values/k").status
        self.assertEqual(
            statuses,
            {
                NoRecord.NOT_FOUND: 404,
                NoRecord.NOT_READY: 503,
                NoRecord.UNANSWERED: 504,
                NoRecord.DELETED: 410,
                NoRecord.TOO_MANY_WATCHES: 429,
            },
        )

    def test_put(self) -> None:
        """The body is stored with what was asked for; the receipt is JSON."""
        response = self.ask("PUT", f"/v1/values/{key_of(7)}?ttl=60&replication=3", b"value")
        self.assertEqual(self.view.puts, [(7, b"value", 60, 3)])
        self.assertEqual(
            response.content, {"key": key_of(7), "outcome": "stored", "stored": 8, "wanted": 8, "version": 3}
        )

    def test_refused(self) -> None:
        """Each reason for which a value is not stored has its status; none is a success."""
        for reason in set(PutReason) - {PutReason.NONE}:
            self.view.put_result = Receipt(PutOutcome.NOT_STORED, 0, 8, reason)
            status = self.ask("PUT", "/v1/values/k", b"v").status
            self.assertTrue(400 <= status < 600, (reason, status))

    def test_empty(self) -> None:
        """An empty value is refused."""
        self.assertEqual(self.ask("PUT", "/v1/values/k").status, 400)
        self.assertEqual(self.view.puts, [])

    def test_delete(self) -> None:
        """A deletion is an envelope that the owner signed; anything else is refused."""
        owner = Owner(1)
        for body in (b"", b"value", owner.record(b"value", 1, 60.0).value):
            self.assertEqual(self.ask("DELETE", f"/v1/values/{owner.key:064x}", body).status, 400)
        tombstone = owner.says(b"", 2)
        self.assertEqual(self.ask("DELETE", f"/v1/values/{owner.key:064x}", tombstone).status, 200)
        self.assertEqual(self.view.puts, [(owner.key, tombstone, 0, 0)])

    def test_operations_at_once(self) -> None:
        """One costly operation too many gets 429; a client that leaves makes room."""
        pending = [self.send("GET", "/v1/trace/k") for _ in range(MAX_OPERATIONS)]
        self.assertEqual(self.ask("GET", "/v1/values/k").status, 429)
        self.assertEqual(self.ask("GET", "/v1/status").status, 200)
        pending[0][0].connectionLost(GONE)
        self.assertEqual(self.ask("GET", "/v1/values/k").status, 404)

    def test_bug(self) -> None:
        """An unexpected error is logged once, and the client gets no details."""

        async def broken(key: int, content: bool) -> Record | NoRecord:
            raise ZeroDivisionError

        self.view.get = broken  # type: ignore[method-assign]
        response = self.ask("GET", "/v1/values/k")
        self.assertEqual((response.status, response.content["error"]), (500, "internal error"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class DashboardTests(AdminCase):
    def test_policy(self) -> None:
        """The dashboard runs no inline script and loads nothing from elsewhere."""
        response = self.ask("GET", "/", token=None)
        policy = response.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        page = response.body.decode()
        self.assertNotRegex(page, r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=")
        for path in ("/", "/page.js", "/page.css"):
            text = self.ask("GET", path, token=None).body.decode().replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(text, r"https?://")
