import inspect

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    BadKey,
    DhtError,
    Forged,
    Incomplete,
    NoNode,
    NotReady,
    Refused,
    TimedOut,
    TooLarge,
    Unanswered,
)
from dht14.records.receipt import PutReason


class PublicTests(SynchronousTestCase):
    """The public names."""

    def test_names(self) -> None:
        """Both pages of public names have the same, and each can be imported and says what it is."""
        self.assertEqual({*dht14.__all__} - {"__version__"}, {*dht14.aio.__all__})
        for module in (dht14, dht14.aio):
            for name in module.__all__:
                self.assertTrue(getattr(module, name).__doc__, name)
                self.assertIn(name, dir(module))
        self.assertRaises(AttributeError, getattr, dht14, "Clint")

    def test_same_methods(self) -> None:
        """Both clients have the same methods with the same arguments."""
        for name, method in vars(dht14.Client).items():
            if not name.startswith("_"):
                other = getattr(dht14.aio.Client, name)
                self.assertEqual(inspect.signature(method), inspect.signature(other), name)
                self.assertTrue(method.__doc__, name)

    def test_errors(self) -> None:
        """All errors are `DhtError`, can be printed and pickled."""
        import pickle

        errors = [
            BadKey("empty", 3),
            TooLarge(2, 1),
            Refused(PutReason.CONFLICT, 1),
            Refused(),
            Incomplete([Refused(), 1]),
            *(kind("why") for kind in (NoNode, TimedOut, Unanswered, NotReady, Forged)),
        ]
        for error in errors:
            self.assertIsInstance(error, DhtError)
            self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_shown(self) -> None:
        """Receipts and values are shown in a line, however large they are."""
        self.assertIn("6b" * 32, repr(dht14.Receipt(key=b"k" * 32)))
        self.assertIn("hello", repr(dht14.Value(value=b"hello", kind="open")))
        self.assertIn("<65000 bytes>", repr(dht14.Value(value=bytes(65_000), kind="open")))
