import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.database_dir import unlock
from dht14.cmd.main import main
from dht14.errors import ConfigError

OLD, NEW = "1" * 64, "2" * 64


class RekeyTests(SynchronousTestCase):
    """A node's directory with values under the key OLD."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(os, "environ", {"PATH": ""})
        self.config = self.folder / "config.ini"
        self.data_dir = self.folder / "d"
        self.config.write_text(f"[node]\ndata_dir = {self.data_dir}\n[security]\nencryption_key = {OLD}\n")
        (self.folder / "new").write_text(NEW + "\n")
        self.unlock(OLD)

    def unlock(self, key: str) -> None:
        data_dir = DataDir.open(str(self.data_dir))
        try:
            unlock(data_dir, bytes.fromhex(key), 1)
        finally:
            data_dir.close()

    def run_rekey(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; no key is in either."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["rekey", "--config", str(self.config), *words])
        for key in (OLD, NEW):
            self.assertNotIn(key, out.getvalue() + err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def test_done(self) -> None:
        """The values have the new key afterwards, and the output says what is left to do."""
        code, out, err = self.run_rekey("--new-key-file", str(self.folder / "new"))
        self.assertEqual((code, err), (0, ""))
        self.assertIn("[security] encryption_key", out)
        self.unlock(NEW)
        self.assertRaises(ConfigError, self.unlock, OLD)

    def test_wrong_key(self) -> None:
        """A wrong old key, an invalid new key or a missing file changes nothing: exit 78."""
        new = ("--new-key-file", str(self.folder / "new"))
        self.config.write_text(self.config.read_text().replace(OLD, NEW))
        self.assertEqual(self.run_rekey(*new)[0], 78)
        (self.folder / "new").write_text("short")
        for path in (self.folder / "new", self.folder / "missing"):
            self.assertEqual(self.run_rekey("--new-key-file", str(path))[0], 78)
        self.unlock(OLD)

    def test_running(self) -> None:
        """A running node keeps its key: exit 75."""
        running = DataDir.open(str(self.data_dir))
        self.addCleanup(running.close)
        self.assertEqual(self.run_rekey("--new-key-file", str(self.folder / "new"))[0], 75)

    def test_other_directory(self) -> None:
        """The directory can be an option."""
        self.config.write_text(f"[security]\nencryption_key = {OLD}\n")
        words = ("--data-dir", str(self.data_dir), "--new-key-file", str(self.folder / "new"))
        self.assertEqual(self.run_rekey(*words)[0], 0)
        self.unlock(NEW)

    def test_no_values(self) -> None:
        """A directory without values is refused, and nothing is created there."""
        self.config.write_text(f"[security]\nencryption_key = {OLD}\n")
        missing = self.folder / "missing"
        (self.folder / "empty").mkdir()
        for path in (missing, self.folder / "empty"):
            code, out, err = self.run_rekey(
                "--data-dir", str(path), "--new-key-file", str(self.folder / "new")
            )
            self.assertEqual((code, out), (78, ""))
            self.assertIn(str(path), err)
        self.assertFalse(missing.exists())
        self.assertEqual(list((self.folder / "empty").iterdir()), [])

    def test_damaged(self) -> None:
        """Damaged values are set aside as at a start and reported: the present key stays."""
        (self.data_dir / "values" / "header").write_text("damaged")
        code, out, err = self.run_rekey("--new-key-file", str(self.folder / "new"))
        self.assertEqual((code, out), (78, ""))
        self.assertIn(str(self.data_dir / "values.damaged-1"), err)
        self.unlock(OLD)
