import json

from twisted.trial.unittest import SynchronousTestCase

from dht14.client.channel import MAX_SENDS
from dht14.records.receipt import NoRecord
from dht14.records.signing import public_key_of
from dht14.wire.api_messages import WatchKey, encode_no_record, encode_record
from tests.client.both import KEY
from tests.client.fake_node import Conversation, FakeNode, Script
from tests.cmd.shell import Outcome, run
from tests.owners import Owner


def saying(state: bytes) -> Script:
    """Answer a WATCH with this state, and break the connection."""

    def script(talk: Conversation) -> None:
        next(talk.requests())
        talk.send(state)

    return script


def breaking(talk: Conversation) -> None:
    """Break the connection without an answer."""
    next(talk.requests())


NOTHING = saying(encode_no_record(KEY, NoRecord.NOT_FOUND))
FIRST, SECOND = (saying(encode_record(KEY, 1, n, 60, b"value %d" % n)) for n in (1, 2))


class WatchTests(SynchronousTestCase):
    """`dht14 watch`, at a node that ends the connection after each state."""

    def watch(self, scripts: list[Script], *words: str) -> Outcome:
        self.node = FakeNode(*scripts)
        with self.node:
            return run("watch", *words, "--api-address", self.node.address)

    def test_values(self) -> None:
        """Each value is a line, and that there is none is one on stderr."""
        outcome = self.watch([NOTHING, FIRST, FIRST, SECOND, NOTHING], "k", "--count", "4")
        self.assertEqual(outcome, Outcome(0, b"value 1\nvalue 2\n", "no value yet\nthe value is gone\n"))
        self.assertEqual({*self.node.requests}, {WatchKey(KEY)})

    def test_lost_node(self) -> None:
        """That the node is gone, and that it is back, is one line each on stderr."""
        broken = [breaking] * (2 * MAX_SENDS)
        outcome = self.watch([FIRST, *broken, SECOND], "k", "--count", "2")
        self.assertEqual((outcome.code, outcome.out), (0, b"value 1\nvalue 2\n"))
        lost, back = outcome.error.splitlines()
        self.assertIn(f"the node at {self.node.address} is lost (", lost)
        self.assertEqual(back, f"the node at {self.node.address} answers again")

    def test_json(self) -> None:
        """With --json each state is an object on a line."""
        outcome = self.watch([FIRST, NOTHING], "k", "--count", "2", "--json")
        found, gone = map(json.loads, outcome.out.splitlines())
        self.assertEqual(gone, {"key": KEY.hex(), "found": False})
        self.assertEqual((found["value"], found["kind"], found["version"]), ("dmFsdWUgMQ==", "open", 1))

    def test_owner(self) -> None:
        """With --owner the key is that of the owner, and the value is without the envelope."""
        owner = Owner(1, b"blog")
        key = owner.key.to_bytes(32, "big")
        script = saying(encode_record(key, 2, 7, 60, owner.says(b"mine", 7)))
        outcome = self.watch(
            [script], "--owner", public_key_of(owner.private_key).hex(), "--salt", "blog", "--count", "1"
        )
        self.assertEqual(outcome, Outcome(0, b"mine\n", ""))

    def test_refused(self) -> None:
        """A refused watch is exit code 1; a node that is not ready, or none, 3; a wrong key 2."""
        for reason, code in ((NoRecord.TOO_MANY_WATCHES, 1), (NoRecord.NOT_READY, 3)):
            outcome = self.watch([saying(encode_no_record(KEY, reason))], "k", "--json")
            self.assertEqual((outcome.code, json.loads(outcome.out)["error"] != ""), (code, True))
        self.assertEqual(run("watch", "k", "--api-address", self.node.address).code, 3)
        for words in (["", "--count", "1"], ["k", "--count", "0"], [], ["k", "--salt", "s"]):
            self.assertEqual(run("watch", *words).code, 2, words)
