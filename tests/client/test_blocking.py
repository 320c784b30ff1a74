import contextlib
import threading

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    TimedOut,
)
from tests.client.both import BothClients
from tests.client.fake_node import Conversation


class BlockingTests(BothClients, SynchronousTestCase):
    """`dht14.Client` and threads."""

    client = dht14.Client

    def test_threads(self) -> None:
        """Threads share a client: as many calls as it may have connections run at a time."""
        together = threading.Barrier(4)

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                together.wait(10)
                talk.send(talk.node.reply_to(request))

        node = self.node(script)
        client = self.connect(node, connections=4)
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(client.get("k"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [None] * 8)
        self.assertEqual(node.accepted, 4)

    def test_all_in_use(self) -> None:
        """A call that waits for a connection in vain times out."""
        asked, go_on = threading.Event(), threading.Event()

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                asked.set()
                go_on.wait(10)
                talk.send(talk.node.reply_to(request))

        client = self.connect(self.node(script), connections=1, timeout=0.2)

        def hold() -> None:
            # Its own end is not judged: on a busy host the reply may come before it looks at its clock.
            with contextlib.suppress(TimedOut):
                client.get("k")

        thread = threading.Thread(target=hold)
        thread.start()
        asked.wait(10)
        self.assertRaises(TimedOut, client.get, "k")
        go_on.set()
        thread.join()

    def test_interrupted(self) -> None:
        """What interrupts a call leaves no reply behind that the next call would take for its own."""

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                talk.send(talk.node.reply_to(request))

        client = self.connect(self.node(script))

        def items():
            for number in range(5):
                yield f"k{number}", b"x"
            raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, client.put_many, items(), concurrency=3)
        self.assertIsNone(client.get("other"))
