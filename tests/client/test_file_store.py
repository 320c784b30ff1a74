import asyncio
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from dht14.client.answers import Receipt
from dht14.client.channel import ANSWER_TIMEOUT
from dht14.client.errors import UNFINISHED, DhtError, NoNode, TimedOut, Unanswered
from dht14.client.file_loop import AsyncioLoop
from dht14.client.file_store import ClientStore, ValueClient
from dht14.files.content_store import Hope, StoreTrouble, try_often
from dht14.records.receipt import PutOutcome


class _Client:
    """Stores what it is given `good` times, and fails from then on."""

    def __init__(self, error: DhtError, good: int) -> None:
        self._error, self._good = error, good
        self.calls = 0

    async def put_content(self, value: bytes, **_: object) -> Receipt:
        self.calls += 1
        if self.calls > self._good:
            raise self._error
        return Receipt(key=bytes(32), outcome=PutOutcome.STORED, copies=8, wanted=8, version=0)


class _Loop(AsyncioLoop):
    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Do not wait, but note how long."""
        self.pauses.append(seconds)


class PatienceTests(SynchronousTestCase):
    """How long the calls for files try again."""

    def pauses(self, error: DhtError, good: int) -> list[float]:
        """Return the pauses after `good` puts and one that fails for ever."""
        loop = _Loop()
        store = ClientStore(cast(ValueClient, _Client(error, good)), loop)

        async def main() -> None:
            for _ in range(good + 1):
                await try_often(store, lambda: store.put(b"piece"))

        self.assertRaises(StoreTrouble, asyncio.run, main())
        return loop.pauses

    def test_silent(self) -> None:
        """A node that falls silent is given up after a minute or so, with the waiting for its answers; one
        that never said anything at once."""
        silence = TimedOut("the node did not answer in time")
        pauses = self.pauses(silence, 3)
        self.assertGreater(len(pauses), 1)
        self.assertLess(sum(pauses) + (len(pauses) + 1) * ANSWER_TIMEOUT, 75)
        self.assertEqual(self.pauses(silence, 0), [])

    def test_others(self) -> None:
        """A node that answers, or restarts, has a minute of pauses."""
        for error in (Unanswered("no holder answered"), TimedOut(UNFINISHED), NoNode("refused")):
            self.assertEqual(self.pauses(error, 1), list(Hope.GREAT.value))
        self.assertEqual(self.pauses(NoNode("refused"), 0), [])
