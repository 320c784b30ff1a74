"""What the tests of both clients have in common."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import TimedOut
from dht14.client.keys import text_key
from tests.client.fake_node import Conversation, FakeNode, Script

KEY = text_key("k")
"""The key of the text that most tests use."""


if TYPE_CHECKING:
    TestCase = SynchronousTestCase
else:
    # trial would run the cases themselves, which have no client.
    TestCase = object


@final
class AsyncioCalls:
    """The asyncio client, called like the blocking one: each call runs its own loop until it is done."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = dht14.aio.Client(*args, **options)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **options: self._loop.run_until_complete(method(*args, **options))

    def __enter__(self) -> "AsyncioCalls":
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


def in_time(call: Callable[..., Any], *words: Any) -> Any:
    """What a call returns, or None when it times out: the host may be busy for as long."""
    with suppress(TimedOut):
        return call(*words)
    return None


class BothClients(TestCase):
    """Connections of one of the clients, which a subclass names, to nodes of this test."""

    client: Callable[..., Any]

    def replying(self, *replies: bytes) -> FakeNode:
        """A node that sends these replies in turn."""
        left = iter(replies)

        def script(talk: Conversation) -> None:
            for _ in talk.requests():
                talk.send(next(left))

        return self.node(script)

    def node(self, *scripts: Script) -> FakeNode:
        node = FakeNode(*scripts)
        node.__enter__()
        self.addCleanup(node.__exit__)
        return node

    def connect(self, node: FakeNode, **options: Any) -> Any:
        client = type(self).client(node.address, **options)
        self.addCleanup(client.__exit__, None, None, None)
        return client
