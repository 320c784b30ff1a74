import json

from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id
from dht14.net.admin.kept_pages import MAX_KEYS
from dht14.net.admin.view import NotStarted
from dht14.records.kept import KeepRefusal, KeptBy
from dht14.records.receipt import NoRecord
from tests.net.admin.case import GONE, AdminCase, FakeKeeping, kept_value, key_of


class KeptPagesTests(AdminCase):
    """The list of kept values over HTTP."""

    def test_keep_value(self) -> None:
        """A value that was just put is kept with its version and the wishes of its client."""
        answer = self.ask("PUT", f"/v1/kept/{key_of(7)}?version=12&ttl=90&replication=3", b"value")
        self.assertEqual((answer.status, answer.content["version"], answer.content["bytes"]), (200, 12, 5))
        self.assertEqual(self.view.keeping.asked, [(7, b"value", 12, 90, 3)])

    def test_keep_found(self) -> None:
        """Without a body the node keeps what it finds; a key may be a text."""
        self.assertEqual(self.ask("PUT", "/v1/kept/greeting").status, 200)
        self.assertEqual(self.view.keeping.asked, [(hash_id(b"greeting"), b"", None, 0, 0)])

    def test_refused(self) -> None:
        """Each reason has its status, and says what to do where there is something to do."""
        statuses: dict[KeepRefusal | NoRecord, int] = {
            KeepRefusal.NOT_READY: 503,
            KeepRefusal.NO_VALUES: 409,
            KeepRefusal.LIST_FULL: 507,
            KeepRefusal.DELETED: 410,
            KeepRefusal.NOT_AUTHENTIC: 422,
            KeepRefusal.NO_VERSION: 400,
            NoRecord.NOT_FOUND: 404,
            NoRecord.UNANSWERED: 504,
        }
        for refusal, status in statuses.items():
            self.view.keeping.refusal = refusal
            self.assertEqual((refusal, self.ask("PUT", "/v1/kept/k").status), (refusal, status))
        self.view.keeping.refusal = KeepRefusal.LIST_FULL
        self.assertIn("kept_limit", self.ask("PUT", "/v1/kept/k").content["error"])

    def test_wrong_usage(self) -> None:
        """What cannot be is refused with a reason, and nothing is kept."""
        for verb, path, body, status in (
            ("PUT", "/v1/kept/bad", b"", 400),
            ("PUT", "/v1/kept/k?version=-1", b"", 400),
            ("PUT", f"/v1/kept/k?version={1 << 63}", b"", 400),
            ("PUT", "/v1/kept/k?ttl=x", b"", 400),
            ("PUT", "/v1/kept/k", bytes(65_496), 413),
            ("PUT", "/v1/kept", b"", 404),
            ("POST", "/v1/kept", b"", 400),
            ("POST", "/v1/kept", b'{"keys": "k"}', 400),
            ("POST", "/v1/kept", b'{"keys": [1]}', 400),
            ("POST", "/v1/kept", b'["k"]', 400),
            ("POST", "/v1/kept", b"[" * 60_000, 400),
            ("POST", "/v1/kept", json.dumps({"keys": ["k"] * (MAX_KEYS + 1)}).encode(), 413),
            ("GET", "/v1/kept?after=never", b"", 400),
            ("GET", "/v1/kept?limit=0", b"", 400),
            ("PUT", "/v1/kept/k?by=chance", b"", 400),
            ("DELETE", "/v1/kept/k?by=", b"", 400),
        ):
            self.assertEqual((verb, path, self.ask(verb, path, body).status), (verb, path, status))
        self.assertEqual(self.view.keeping.asked, [])

    def test_not_started(self) -> None:
        """A node that has not started says so, to one key as to many."""

        async def keep(*asked: object) -> None:
            raise NotStarted

        self.patch(FakeKeeping, "keep", keep)
        self.assertEqual(self.ask("PUT", "/v1/kept/k", b"v").status, 503)
        self.assertEqual(self.ask("POST", "/v1/kept", b'{"keys": ["k", "l"]}').status, 503)

    def test_client_gone(self) -> None:
        """A client that goes while its keys are looked for is no bug."""

        async def keep(*asked: object) -> None:
            await Deferred()

        self.patch(FakeKeeping, "keep", keep)
        channel, _ = self.send("POST", "/v1/kept", b'{"keys": ["k", "l"]}')
        channel.connectionLost(GONE)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_many(self) -> None:
        """Many keys are kept with one request, each once; the answer names those that are not."""
        keys = [key_of(number) for number in range(MAX_KEYS - 1)]
        body = json.dumps({"keys": [*keys, keys[0]]}).encode()
        answer = self.ask("POST", "/v1/kept?ttl=60", body)
        self.assertEqual(answer.content, {"kept": len(keys), "refused": []})
        self.assertEqual(len(self.view.keeping.asked), len(keys))
        self.view.keeping.refusal = NoRecord.NOT_FOUND
        answer = self.ask("POST", "/v1/kept", json.dumps({"keys": keys[:1]}).encode())
        self.assertEqual(answer.content, {"kept": 0, "refused": [{"key": keys[0], "error": "not found"}]})

    def test_by(self) -> None:
        """Values are kept and let go by their keys, or as the address or a part of a file where the client
        says so."""
        body = json.dumps({"keys": [key_of(7)]}).encode()
        for query in ("", "?by=key", "?by=file", "?by=part"):
            self.ask("PUT", f"/v1/kept/k{query}")
            self.ask("POST", f"/v1/kept{query}", body)
            self.ask("DELETE", f"/v1/kept/k{query}")
        self.assertEqual(self.view.keeping.asked_by, [KeptBy.KEY] * 6 + [KeptBy.FILE] * 3 + [KeptBy.PART] * 3)

    def test_unkeep_file(self) -> None:
        """Who lets a file go learns what becomes of its parts; an address under which no file is kept is
        refused."""
        self.view.keeping.values[7] = kept_value(7)
        path = f"/v1/kept/{key_of(7)}?by=file"
        numbers = {"ended": 3, "shared": 2, "by_key": 1, "complete": True}
        self.assertEqual(self.ask("DELETE", path).content, {"key": key_of(7), **numbers})
        self.assertEqual(self.ask("DELETE", path).status, 404)
        self.view.keeping.refusal = KeepRefusal.NOT_READY
        self.assertEqual(self.ask("DELETE", path).status, 503)

    def test_list_and_unkeep(self) -> None:
        """The list has what is kept; a key that was taken off it is gone, and cannot be taken off twice."""
        self.view.keeping.values[7] = kept_value(7)
        page = self.ask("GET", "/v1/kept").content
        self.assertEqual([value["key"] for value in page["values"]], [key_of(7)])
        self.assertEqual(self.ask("DELETE", f"/v1/kept/{key_of(7)}").content, {"key": key_of(7), "by": []})
        self.assertEqual(self.ask("DELETE", f"/v1/kept/{key_of(7)}").status, 404)
        self.assertEqual(self.ask("GET", "/v1/kept").content["values"], [])
