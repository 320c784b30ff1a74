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
        """What is said of these words, which are wrong usage."""
        end = self.assertRaises(CommandError, self.parser.parse_args, words)
        self.assertEqual((end.code, end.error), (2, "wrong_usage"))
        return str(end)

    def test_dashes(self) -> None:
        """A value that begins with - is not taken for an option, and no help is printed for it: the cure is
        said."""
        for word in ("-hello", "-h ", "-help", "-vv", "-x"):
            self.assertIn("after --", self.wrong("k", word))

    def test_behind_dashes(self) -> None:
        """Behind -- it is a value; so is a negative number anywhere."""
        for words, value in (
            (("k", "--", "-hello"), "-hello"),
            (("--", "k", "--help"), "--help"),
            (("k", "-5"), "-5"),
        ):
            self.assertEqual(self.parser.parse_args(words).value, value)

    def test_option_behind_dashes(self) -> None:
        """An option after -- is reported as such."""
        self.assertIn("write it before", self.wrong("k", "--", "-v", "--salt", "s"))

    def test_option_with_its_argument(self) -> None:
        """A short option may have its argument at once."""
        self.assertEqual(self.parser.parse_args(("k", "-cfile")).config, "file")

    def test_no_abbreviations(self) -> None:
        """An option is written in full; the one that may be meant is named."""
        self.assertIn("did you mean --replication?", self.wrong("k", "--repl", "3"))
        self.assertIn("did you mean --replication?", self.wrong("k", "--replicaton=3"))
        self.assertNotIn("did you mean", self.wrong("k", "--frobnicate"))

    def test_unknown_option_first(self) -> None:
        """An option that does not exist is named, and not what is missing or wrong because of it."""
        self.parser.add_argument("--sign", required=True)
        self.parser.add_argument("--for", choices=("ready", "joined"))
        self.assertIn("did you mean --sign?", self.wrong("k", "--sgn", "file"))
        self.assertIn("unknown option: --frobnicate", self.wrong("--frobnicate", "5", "--for", "x"))
        self.assertEqual(self.parser.parse_args(("k", "--hello, all", "--sign", "f")).value, "--hello, all")

    def test_choices(self) -> None:
        """Of a word that is none of the choices the nearest one is named; all of them where none is near."""
        self.parser.add_argument("--for", choices=("ready", "joined"))
        said = self.wrong("k", "--for", "rady")
        self.assertIn("did you mean ready?", said)
        self.assertNotIn("joined", said)
        self.assertIn("choose from ready, joined", self.wrong("k", "--for", "xyz"))

    def test_missing_argument(self) -> None:
        """An option whose argument begins with - is told how to have it."""
        self.assertIn("OPTION=VALUE", self.wrong("k", "--salt", "--x"))
        self.assertEqual(self.parser.parse_args(("k", "--salt=--x")).salt, "--x")

    def test_too_many(self) -> None:
        """A word too many is named."""
        self.assertIn("unexpected argument: third", self.wrong("k", "v", "third"))

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
        """The nearest name, or none."""
        self.assertEqual(suggestion("gte", ["put", "get"]), " (did you mean get?)")
        self.assertEqual(suggestion("xyz", ["put", "get"]), "")
