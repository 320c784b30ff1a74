import inspect

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
import dht14.testing
from dht14.client.errors import (
    BadKey,
    DhtError,
    FileFailed,
    Forged,
    Incomplete,
    NoNode,
    NotAFile,
    NotReady,
    Refused,
    TimedOut,
    TooLarge,
    TooManyWatches,
    Unanswered,
)
from dht14.records.receipt import PutReason


class PublicTests(SynchronousTestCase):
    """The public names."""

    def test_names(self) -> None:
        """Both pages of public names have the same, but for the way to run a node; each can be imported and
        says what it is."""
        own = {"__version__", "Node"}
        self.assertEqual({*dht14.__all__} - own, {*dht14.aio.__all__} - {"AsyncioNode", "run_node"})
        for module in (dht14, dht14.aio, dht14.testing):
            for name in module.__all__:
                self.assertTrue(getattr(module, name).__doc__, name)
                self.assertIn(name, dir(module))
        for module in (dht14, dht14.aio):
            self.assertRaises(AttributeError, getattr, module, "Clint")

    def test_same_methods(self) -> None:
        """Both clients, and a node, have the same methods with the same arguments. Those that carry out many
        calls are only for clients: a node has no connections that they would spare."""
        many = ("get_many", "put_many", "put_file", "get_file", "file_keys")
        for name, method in vars(dht14.Client).items():
            if name.startswith("_"):
                continue
            self.assertTrue(method.__doc__, name)
            others: list[type] = [dht14.aio.Client]
            if name != "close" and name not in many:
                others += [dht14.Node, dht14.aio.AsyncioNode]
            for other in others:
                signature = inspect.signature(getattr(other, name))
                parameters = signature.parameters.values()
                self.assertEqual(list(inspect.signature(method).parameters.values()), list(parameters), name)

    def test_errors(self) -> None:
        """All errors are `DhtError`, can be printed and pickled."""
        import pickle

        errors = [
            BadKey("empty", 3),
            TooLarge(2, 1),
            Refused(PutReason.CONFLICT, 1),
            Refused(),
            Incomplete([Refused(), 1]),
            TooManyWatches(),
            FileFailed("why", 3, 9),
            NoNode("why", "127.0.0.1:1"),
            *(kind("why") for kind in (NoNode, TimedOut, Unanswered, NotReady, Forged, NotAFile)),
        ]
        for error in errors:
            self.assertIsInstance(error, DhtError)
            self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_shown(self) -> None:
        """Receipts and values are shown in a line, however large they are."""
        self.assertIn("6b" * 32, repr(dht14.Receipt(key=b"k" * 32)))
        self.assertIn("hello", repr(dht14.Value(value=b"hello", kind="open")))
        self.assertIn("<65000 bytes>", repr(dht14.Value(value=bytes(65_000), kind="open")))
