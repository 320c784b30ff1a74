import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from dht14.embedding.guest_reactor import GuestReactor
from dht14.net.resolver import resolver
from tests.embedding.open_files import open_files

Main = Callable[[GuestReactor], Coroutine[Any, Any, object]]


class GuestReactorTests(SynchronousTestCase):
    """A reactor on somebody else's loop."""

    def run_guest(self, main: Main) -> Any:
        """Run a coroutine beside a guest that ends after it; return its result. The loop must outlive the
        guest, without anything of it."""

        async def outer() -> object:
            loop = asyncio.get_running_loop()
            files, threads = open_files(), threading.active_count()
            reactor = GuestReactor(loop)
            try:
                result = await main(reactor)
            finally:
                reactor.end()
            reactor.end()
            await asyncio.sleep(0)
            self.assertEqual(open_files(), files)
            self.assertEqual(threading.active_count(), threads)
            self.assertEqual((reactor.getDelayedCalls(), reactor.running), ([], False))
            return result

        return asyncio.run(outer())

    def test_timers(self) -> None:
        """Its timers fire, also when another one is set meanwhile; those that are left are forgotten."""

        async def main(reactor: GuestReactor) -> list[int]:
            fired: list[int] = []
            done = asyncio.Event()
            reactor.callLater(3_600, fired.append, 3)
            reactor.callLater(0.01, fired.append, 2)
            reactor.callLater(0, fired.append, 1)
            reactor.callLater(0.02, done.set)
            await asyncio.wait_for(done.wait(), 60)
            return fired

        self.assertEqual(self.run_guest(main), [1, 2])

    def test_threads(self) -> None:
        """Threads can call into it, and its pool of threads ends with it: host names are resolved there."""

        async def main(reactor: GuestReactor) -> tuple[Any, Any]:
            loop = asyncio.get_running_loop()
            name = deferToThreadPool(
                reactor, reactor.getThreadPool(), lambda: threading.current_thread().name
            )
            resolved = resolver(reactor)("localhost", 14)
            return await name.asFuture(loop), await resolved.asFuture(loop)

        name, addresses = self.run_guest(main)
        self.assertIn("twisted.internet.reactor", name)
        self.assertIn(("127.0.0.1", 14), addresses)

    def test_clock(self) -> None:
        """Its clock is a node's: the time of day at first."""

        async def main(reactor: GuestReactor) -> float:
            return reactor.seconds() - time.time()

        self.assertTrue(abs(self.run_guest(main)) < 60)

    def test_other_reactors(self) -> None:
        """It changes nothing that belongs to the reactor of the process: here trial's."""
        before = sys.modules.get("twisted.internet.reactor")
        io_thread = threadable.ioThread

        async def main(reactor: GuestReactor) -> bool:
            now: Any = sys.modules.get("twisted.internet.reactor")
            return now is before and now is not reactor

        self.assertTrue(self.run_guest(main))
        self.assertEqual(threadable.ioThread, io_thread)

    def test_unable_loop(self) -> None:
        """A loop that cannot watch sockets is refused, by its name."""

        class Unable(asyncio.SelectorEventLoop):
            add_reader = asyncio.AbstractEventLoop.add_reader

        loop = Unable()
        self.addCleanup(loop.close)
        error = self.assertRaises(RuntimeError, GuestReactor, loop)
        self.assertIn("Unable", str(error))
