from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cmd.shell import run


class TestnetTests(SynchronousTestCase):
    """Wrong usage of `dht14 testnet`; what it does with real nodes is in tests.process.test_testnet."""

    def test_wrong_usage(self) -> None:
        """Numbers that make no network are refused before anything is started."""
        for words, problem in (
            (("0",), "'0' is not a whole number from 1 to 100"),
            (("101",), "'101' is not a whole number from 1 to 100"),
            (("3", "--api-port", "65534"), "3 ports do not fit above 65534"),
            (("3", "--kep", "d"), "unknown option: --kep (did you mean --keep?)"),
        ):
            outcome = run("testnet", *words)
            self.assertEqual((outcome.code, outcome.out), (2, b""))
            self.assertIn(problem, outcome.error)

    def test_folder(self) -> None:
        """A folder that cannot be made is refused by its name."""
        Path(self.mktemp()).touch()
        taken = Path(self.mktemp())
        taken.write_bytes(b"")
        outcome = run("testnet", "1", "--keep", str(taken / "below"))
        self.assertEqual(outcome.code, 2)
        self.assertIn(f"--keep: cannot use '{taken / 'below'}' (Not a directory)", outcome.error)
