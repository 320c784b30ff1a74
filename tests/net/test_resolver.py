import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.resolver import RESOLVE_TIMEOUT, resolver


@define
class Threads:
    """A thread pool whose work is done when a test says so."""

    work: list[tuple[Callable[..., None], Callable[..., Any], tuple[Any, ...]]] = field(factory=list)

    def callInThreadWithCallback(
        self, done: Callable[..., None], call: Callable[..., Any], *args: Any
    ) -> None:
        self.work.append((done, call, args))

    def run(self) -> None:
        """Do the oldest work."""
        done, call, args = self.work.pop(0)
        try:
            result = call(*args)
        except Exception as error:  # noqa: BLE001 - as a thread pool does
            done(False, error)
        else:
            done(True, result)


class Reactor(Clock):
    """A clock with threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()

    def getThreadPool(self) -> Threads:
        return self.threads

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


def info(*address: object) -> tuple[Any, ...]:
    """Return one result of `socket.getaddrinfo`."""
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.asked: list[tuple[object, ...]] = []
        self.answer: list[tuple[Any, ...]] | Exception = []
        self.resolve = resolver(self.reactor, self.getaddrinfo)

    def getaddrinfo(self, *asked: object) -> list[tuple[Any, ...]]:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def test_all_addresses(self) -> None:
        """All addresses of a name, of both families, are found once each, with the given port."""
        self.answer = [
            info("192.0.2.1", 8000),
            info("2001:db8::1", 8000, 0, 0),
            info("192.0.2.1", 8000),
        ]
        found = self.resolve("seed.example", 8000)
        self.assertNoResult(found)
        self.reactor.threads.run()
        self.assertEqual(self.successResultOf(found), [("192.0.2.1", 8000), ("2001:db8::1", 8000)])
        self.assertEqual(self.asked, [("seed.example", 8000, socket.AF_UNSPEC, socket.SOCK_STREAM)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_none(self) -> None:
        """A name without an address gives an empty list, not a failure; nor does a lack of descriptors."""
        for error in (
            socket.gaierror(socket.EAI_NONAME, "unknown"),
            OSError(errno.EINVAL, os.strerror(errno.EINVAL)),
            UnicodeError("label too long"),
        ):
            self.answer = error
            found = self.resolve("a", 1)
            self.reactor.threads.run()
            self.assertEqual(self.successResultOf(found), [])

    def test_bug(self) -> None:
        """Any other error is a bug, and fails."""
        self.answer = ZeroDivisionError()
        found = self.resolve("a", 1)
        self.reactor.threads.run()
        self.failureResultOf(found, ZeroDivisionError)

    def test_timeout(self) -> None:
        """Nothing waits for ever for a name; a late answer is ignored."""
        found = self.resolve("a", 1)
        self.reactor.advance(RESOLVE_TIMEOUT)
        self.assertEqual(self.successResultOf(found), [])
        self.reactor.threads.run()

    def test_cancelled(self) -> None:
        """A cancelled resolution leaves no timer."""
        found = self.resolve("a", 1)
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.threads.run()
