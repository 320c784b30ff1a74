import json
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from dht14.kademlia.keyspace import hash_id
from dht14.net.admin.streams import HEARTBEAT_INTERVAL, MAX_LISTENERS
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from tests.net.admin.case import AdminCase
from tests.net.api.test_states import Refusing

KEY = hash_id(b"7")
RECORD = Record(key=KEY, value=b"value", version=5, expires_at=60.0, replication=8)


class WatchStreamTests(AdminCase):
    """`/v1/watch/KEY`."""

    def events(self, *states: Record | NoRecord) -> list[tuple[str, dict[str, Any]]]:
        """The events of the present state, and of these that follow: kind and content."""
        _, transport = self.send("GET", "/v1/watch/7")
        for state in states:
            self.view.node.watches[0].on_change(state)
        _, _, body = transport.value().partition(b": connected\n\n")
        lines = [line for line in body.decode().split("\r\n") if line.startswith("event: ")]
        parts = [line.removeprefix("event: ").strip().split("\ndata: ") for line in lines]
        return [(kind, json.loads(content)) for kind, content in parts]

    def test_states(self) -> None:
        """Each state is an event, with the value in base64."""
        expected = {
            "key": f"{KEY:064x}",
            "found": True,
            "value": "dmFsdWU=",
            "bytes": 5,
            "kind": "open",
            "version": 5,
            "expires_in": 60,
        }
        deleted = {"key": f"{KEY:064x}", "found": False, "reason": "deleted"}
        nothing = {"key": f"{KEY:064x}", "found": False, "reason": "not found"}
        states = self.events(RECORD, NoRecord.DELETED)
        self.assertEqual(states, [("state", nothing), ("state", expected), ("state", deleted)])

    def test_refused(self) -> None:
        """Where there can be no watch, an event says why."""
        self.view.node = Refusing(NoRecord.TOO_MANY_WATCHES)
        self.assertEqual(self.events(), [("refused", {"error": "too many watches"})])

    def test_hang_up(self) -> None:
        """The watch ends with the connection."""
        channel, _ = self.send("GET", "/v1/watch/7")
        self.assertEqual([watch.key for watch in self.view.node.watches], [KEY])
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.view.node.watches, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heartbeat(self) -> None:
        """Where no event comes a comment shows each side that the other one is there."""
        _, transport = self.send("GET", "/v1/watch/7")
        transport.clear()
        for _ in range(3):
            self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(transport.value().count(b": alive\n\n"), 3)
        self.assertFalse(transport.disconnecting or transport.disconnected)

    def test_keys(self) -> None:
        """A path without a key, or with more than one, is no page; a key that is none is refused."""
        for path, status in (("/v1/watch/", 404), ("/v1/watch", 404), ("/v1/watch/7/8", 404)):
            self.assertEqual(self.ask("GET", path).status, status, path)
        self.assertEqual(self.ask("GET", "/v1/watch/bad").status, 400)
        self.assertEqual(self.ask("GET", "/v1/watch/7?after=1").status, 400)

    def test_too_many(self) -> None:
        """As many listen at once as to the events, and no more."""
        for _ in range(MAX_LISTENERS):
            self.send("GET", "/v1/watch/7")
        self.assertEqual(self.ask("GET", "/v1/watch/7").status, 429)
