import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import dht14
from dht14.cmd.main import COMMANDS
from tests.cmd.shell import run


class MainTests(SynchronousTestCase):
    """`dht14` at a shell."""

    def run_main(self, *words: str) -> tuple[object, str, str]:
        """Exit code, stdout, stderr."""
        code, out, err = run(*words)
        return code, out.decode(), err

    def test_version(self):
        """--version prints the version."""
        self.assertEqual(self.run_main("--version"), (0, f"DHT-14 {dht14.__version__}\n", ""))

    def test_help(self):
        """Help lists the commands, and each command has its own help."""
        _, out, _ = self.run_main("--help")
        for name in COMMANDS:
            self.assertIn(name, out)
            self.assertEqual(self.run_main(name, "--help")[0], 0)

    def test_wrong_usage(self):
        """No command, an unknown one, and an unknown option are wrong usage."""
        for words in ((), ("fetch",), ("--no-such-option",), ("get",)):
            code, out, err = self.run_main(*words)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("usage: dht14", err)

    def test_nearest(self):
        """For a mistyped command or option the nearest one is suggested, with its usage."""
        code, _, err = self.run_main("gte", "k")
        self.assertEqual(code, 2)
        self.assertIn("did you mean get?", err)
        code, _, err = self.run_main("put", "k", "v", "--tll", "5")
        self.assertEqual(code, 2)
        self.assertIn("usage: dht14 put", err)
        self.assertIn("did you mean --ttl?", err)

    def test_help_command(self):
        """`dht14 help` equals `--help`, and `dht14 help COMMAND` equals `COMMAND --help`."""
        self.assertEqual(self.run_main("help"), self.run_main("--help"))
        self.assertEqual(self.run_main("help", "put"), self.run_main("put", "--help"))
        self.assertEqual(self.run_main("help", "nothing")[0], 2)

    def test_json_errors(self):
        """With --json every error is also an object on stdout."""
        for words, error in (
            (("get", "k", "--api-address", "127.0.0.1:1", "--json"), "no_node"),
            (("get", "--json"), "wrong_usage"),
            (("gte", "--json"), "wrong_usage"),
            (("keygen", "/no/such/folder/f", "--json"), "output"),
        ):
            _, out, err = self.run_main(*words)
            self.assertEqual(json.loads(out)["error"], error)
            self.assertTrue(err)

    def test_unusable_files(self):
        """The error about a file names the option, the file and what to do, before any node is asked."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "bytes").write_bytes(b"\xff" * 9)
        (folder / "empty").touch()
        taken, empty, missing = (f"{folder / name}" for name in ("bytes", "empty", "missing"))
        surface = ("status", "--admin-address", "127.0.0.1:1")
        for code, words, option, files in (
            (78, ("config", "--check"), "--check", [taken, missing, f"{folder}", ""]),
            (78, ("config", "--config"), "--config", [taken, missing, f"{folder}", ""]),
            (78, ("get", "k", "--config"), "--config", [taken, missing, f"{folder}", ""]),
            (78, ("rekey", "--new-key-file"), "--new-key-file", [taken, empty, missing, f"{folder}", ""]),
            (2, ("put", "--file"), "--file", [missing, f"{folder}", ""]),
            (2, ("key", "--content", "--file"), "--file", [missing, f"{folder}", ""]),
            (2, ("put", "v", "--sign"), "--sign", [taken, empty, missing, f"{folder}", ""]),
            (2, ("delete", "--sign"), "--sign", [taken, empty, missing, f"{folder}", ""]),
            (2, ("get", "k", "--output"), "--output", [f"{folder}/no/x", f"{folder}", ""]),
            (2, ("get", f"dht14:{'0' * 64}", "--output"), "--output", [f"{folder}/no/x", f"{folder}", ""]),
            (2, (*surface, "--token-file"), "--token-file", [taken, empty, missing, f"{folder}"]),
            (2, ("keygen",), "FILE", [taken, f"{folder}", f"{folder}/no/x", ""]),
            (2, ("testnet", "--keep"), "--keep", [taken, f"{empty}/x"]),
        ):
            for file in files:
                ended, out, err = self.run_main(*words, file)
                line = err.splitlines()[-1]
                self.assertEqual((ended, out), (code, ""), (words, file, line))
                self.assertTrue(line.startswith(f"dht14: {option}: "), (words, file, line))
                self.assertIn(f"{file!r}", line)
                self.assertIn("; ", line)

    def test_json_behind_dashes(self):
        """After -- the word --json is a value."""
        self.assertEqual(self.run_main("get", "--", "k", "--json")[1], "")

    def test_exit_code_of_command(self):
        """The exit code is that of the command: 3 if no node answers."""
        code, _, err = self.run_main("get", "key", "--api-address", "127.0.0.1:1")
        self.assertEqual(code, 3)
        self.assertEqual(len(err.splitlines()), 1)

    def test_client_starts_light(self):
        """A client does not import Twisted, nor does a command that looks into a node."""
        for words in (
            ["get", "--help"],
            ["status", "--data-dir", "/no/such/folder"],
            ["dashboard", "--help"],
        ):
            script = (
                "import sys; from dht14.cmd.main import main\n"
                f"try: main({words})\n"
                "except SystemExit: pass\n"
                "sys.exit('twisted' in sys.modules)"
            )
            command = [sys.executable, "-c", script]
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
