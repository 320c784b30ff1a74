import argparse

from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.command_error import CommandError
from dht14.cmd.parser import Parser, host_port, seconds, suggestion, whole_number


class ParserTests(SynchronousTestCase):
    """The command line of one command."""

    def setUp(self) -> None:
        self.parser = Parser(prog="dht14 put")
        self.parser.add_argument("key")
        self.parser.add_argument("value", nargs="?")
        self.parser.add_argument("--replication", type=whole_number(255))
        self.parser.add_argument("--salt")
        self.parser.add_argument("--config", "-c")

    def wrong(self, *words: str) -> str:
        """Return the message for words that are wrong usage."""
        end = self.assertRaises(CommandError, self.parser.parse_args, words)
        self.assertEqual((end.code, end.error), (2, "wrong_usage"))
        return str(end)

    def test_numbers(self) -> None:
        """Numbers, durations and addresses have bounds."""
        self.assertEqual(whole_number(5)("5"), 5)
        self.assertEqual(seconds(60)("0.5"), 0.5)
        self.assertEqual(host_port("[::1]:7400"), ("::1", 7400))
        for parse, text in (
            (whole_number(5), "6"),
            (whole_number(5), "-1"),
            (seconds(60), "abc"),
            (seconds(60), "61"),
            (seconds(60), "-1"),
            (host_port, "::1:7400"),
            (host_port, "h:0"),
        ):
            self.assertRaises(argparse.ArgumentTypeError, parse, text)

    def test_meant(self) -> None:
        """The nearest name is suggested, if any is near."""
        self.assertEqual(suggestion("gte", ["put", "get"]), " (did you mean get?)")
        self.assertEqual(suggestion("xyz", ["put", "get"]), "")

    def test_missing_argument(self) -> None:
        """An option whose argument begins with -: the message says how to write it."""
        self.assertIn("OPTION=VALUE", self.wrong("k", "--salt", "--x"))
        self.assertEqual(self.parser.parse_args(("k", "--salt=--x")).salt, "--x")

    def test_too_many(self) -> None:
        """A superfluous word is named."""
        self.assertIn("unexpected argument: third", self.wrong("k", "v", "third"))

    def test_choices(self) -> None:
        """For a wrong choice the nearest one is suggested, or all are listed."""
        self.parser.add_argument("--for", choices=("ready", "joined"))
        said = self.wrong("k", "--for", "rady")
        self.assertIn("did you mean ready?", said)
        self.assertNotIn("joined", said)
        self.assertIn("choose from ready, joined", self.wrong("k", "--for", "xyz"))

    def test_no_abbreviations(self) -> None:
        """Abbreviated options are refused, and the full one is suggested."""
        self.assertIn("did you mean --replication?", self.wrong("k", "--repl", "3"))
        self.assertIn("did you mean --replication?", self.wrong("k", "--replicaton=3"))
        self.assertNotIn("did you mean", self.wrong("k", "--frobnicate"))

    def test_option_with_its_argument(self) -> None:
        """The argument can follow a short option directly."""
        self.assertEqual(self.parser.parse_args(("k", "-cfile")).config, "file")

    def test_unknown_option_first(self) -> None:
        """An unknown option is reported before what is missing because of it."""
        self.parser.add_argument("--sign", required=True)
        self.parser.add_argument("--for", choices=("ready", "joined"))
        self.assertIn("did you mean --sign?", self.wrong("k", "--sgn", "file"))
        self.assertIn("unknown option: --frobnicate", self.wrong("--frobnicate", "5", "--for", "x"))
        self.assertEqual(self.parser.parse_args(("k", "--hello, all", "--sign", "f")).value, "--hello, all")

    def test_behind_dashes(self) -> None:
        """After -- it is a value; a negative number is one anywhere."""
        for words, value in (
            (("k", "--", "-hello"), "-hello"),
            (("--", "k", "--help"), "--help"),
            (("k", "-5"), "-5"),
        ):
            self.assertEqual(self.parser.parse_args(words).value, value)

    def test_dashes(self) -> None:
        """A value that begins with - is not taken for an option or for -h; the message names the cure."""
        for word in ("-hello", "-h ", "-help", "-vv", "-x"):
            self.assertIn("after --", self.wrong("k", word))

    def test_option_behind_dashes(self) -> None:
        """An option after -- is reported as such."""
        self.assertIn("write it before", self.wrong("k", "--", "-v", "--salt", "s"))
