import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.cmd.twistd_options import as_user_of, check_twistd_options
from dht14.errors import ConfigError

GIVEN: dict[str, Any] = {"chroot": None, "rundir": ".", "pidfile": "", "uid": None, "gid": None}


class OptionsTests(SynchronousTestCase):
    """Options of twistd that a node cannot start with."""

    def test_refused(self) -> None:
        """Options that would end in a traceback of twistd are refused by name."""
        for name, value in (
            ("chroot", "/"),
            ("rundir", "/nowhere"),
            ("pidfile", "/nowhere/x"),
            ("pidfile", "/proc/x/y"),
            ("pidfile", "/"),
        ):
            wrong = self.assertRaises(ConfigError, check_twistd_options, {**GIVEN, name: value})
            self.assertIn(f"--{name}", str(wrong))

    def test_good(self) -> None:
        """Other options pass."""
        check_twistd_options(GIVEN)
        check_twistd_options({**GIVEN, "rundir": "/", "pidfile": os.path.abspath("x.pid")})


class UserTests(SynchronousTestCase):
    """--uid and --gid."""

    def test_files(self) -> None:
        """Files belong to the user that the node becomes; then root is root again."""
        if os.geteuid():
            raise SkipTest("only root may become another user")
        nobody = pwd.getpwnam("nobody")
        # Not below the folder of this run: others need not be let in there.
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        os.chown(folder, nobody.pw_uid, -1)
        former = os.geteuid(), os.getegid(), os.getgroups()
        for number, gid in enumerate((None, nobody.pw_gid)):
            with as_user_of({**GIVEN, "uid": nobody.pw_uid, "gid": gid}):
                fd = os.open(folder / str(number), os.O_CREAT, 0o600)
                made = os.fstat(fd)
                os.close(fd)
            self.assertEqual((made.st_uid, made.st_gid), (nobody.pw_uid, nobody.pw_gid))
            self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), former)

    def test_nobody_else(self) -> None:
        """Without them, or with the own ids, nothing changes; a uid without a user needs --gid."""
        for uid, gid in ((None, None), (os.geteuid(), None), (os.geteuid(), os.getegid())):
            with as_user_of({**GIVEN, "uid": uid, "gid": gid}):
                self.assertEqual(os.geteuid(), os.getuid())
        with self.assertRaises(ConfigError) as refused, as_user_of({**GIVEN, "uid": 3_999_999_999}):
            pass
        self.assertIn("--gid", str(refused.exception))
