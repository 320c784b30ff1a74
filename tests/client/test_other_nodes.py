from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    Refused,
    TimedOut,
)
from dht14.client.keys import content_key
from dht14.kademlia.keyspace import id_to_bytes
from dht14.wire.api_messages import (
    PutWithReceipt,
)
from tests.client import fake_node
from tests.client.both import KEY, AsyncioCalls, BothClients, in_time
from tests.client.fake_node import Conversation
from tests.owners import Owner
from tests.process.nodes import eventually


class OtherNodeCases(BothClients):
    """Nodes of a VoidPhone that know 650 to 653 alone."""

    def test_voidphone(self) -> None:
        """Another node of a VoidPhone is asked with its own messages; it gives no receipts."""
        node = self.node(fake_node.voidphone)
        client = self.connect(node)
        self.assertEqual(client.put(b"hello", key="k"), dht14.Receipt(key=KEY))
        self.assertEqual(client.get("k"), dht14.Value(value=b"hello", kind="open"))
        self.assertIsNone(client.get("none"))
        self.assertEqual(client.put_content(b"x").key, content_key(b"x"))
        self.assertEqual(client.get(content_key(b"x")).kind, "content")
        client.put_many([(f"k{number}", b"x") for number in range(50)])
        owner = Owner()
        client.put_signed(b"mine", owner.private_key)
        self.assertEqual(client.get(id_to_bytes(owner.key)).value, b"mine")
        self.assertEqual(node.accepted, 2)

    def test_silent_voidphone(self) -> None:
        """So is one that does not answer what it does not know."""
        node = self.node(fake_node.silent_voidphone)
        self.patch(dht14.client.channel, "SILENCE_TIMEOUT", 0.2)
        client = self.connect(node)
        self.assertEqual(client.put(b"hello", key="k"), dht14.Receipt(key=KEY))
        self.assertEqual(client.get("k").value, b"hello")

    def test_put_without_reply(self) -> None:
        """A node that does not answer a PUT, as the specification has it, times out; its gets work."""
        node = self.node(fake_node.letter_of_the_specification)
        client = self.connect(node, timeout=0.3)
        self.assertRaises(TimedOut, client.put, b"x", key="k")
        found = eventually(lambda: in_time(client.get, "k"), "a reply in time")
        self.assertEqual(found.value, b"x")

    def test_failure(self) -> None:
        """Its FAILURE gives no reason."""

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                if isinstance(request, PutWithReceipt):
                    return
                talk.send((36).to_bytes(2, "big") + (653).to_bytes(2, "big") + request.key)

        client = self.connect(self.node(script))
        error = self.assertRaises(Refused, client.put, b"x", key="k")
        self.assertEqual((error.reason, error.copies), (None, None))


class BlockingOtherNodeTests(OtherNodeCases, SynchronousTestCase):
    client = dht14.Client


class AsyncioOtherNodeTests(OtherNodeCases, SynchronousTestCase):
    client = AsyncioCalls
