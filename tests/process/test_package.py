"""The package as users install it: the wheel in an environment of its own, outside of the checkout."""

import re
import shutil
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

from tests.process.nodes import TOP, run_program
from tests.process.test_network import NetworkTestCase

SOURCES = (
    "LICENSE",
    "conf/config.ini",
    "docs/pypi.md",
    "docs/completion",
    "docs/dht14.1",
    "dht14",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "twisted",
)
"""What the wheel is made of."""
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"
SHOW_SAMPLE = "from importlib.resources import files; print(end=(files('dht14') / 'config.ini').read_text())"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a system that is not like Unix does not have.
UNIX_ONLY = """\
import asyncio, subprocess, sys
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "syslog", "termios", "twisted"))
from dht14.cmd.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*words: str | Path, folder: Path) -> str:
    """Return what a command prints. It must succeed, and must not find the checkout."""
    ended = run_program(*words, folder=folder, extra={"PYTHONPATH": ""})
    assert ended.returncode == 0, (words, ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout


def build_wheel(folder: Path) -> Path:
    """Build it from a copy of its sources: setuptools leaves files beside them."""
    source = folder / "source"
    for name in SOURCES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (TOP / name).is_dir():
            shutil.copytree(
                TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache")
            )
        else:
            shutil.copy(TOP / name, source / name)
    run(sys.executable, "-c", BUILD, folder, folder=source)
    (wheel,) = folder.glob("*.whl")
    return wheel


class PackageTests(NetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.network.folder
        folder.mkdir(parents=True)
        wheel = build_wheel(folder)
        shutil.rmtree(folder / "source")
        venv.create(folder / "venv", symlinks=True)
        self.bin = folder / "venv" / "bin"
        self.python = self.bin / "python"
        run(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python,
            "install", "--quiet", "--no-index", "--no-deps", wheel, folder=folder,
        )  # fmt: skip
        # The dependencies are those of this environment, behind the wheel. Its .pth files, one of which leads
        # to the checkout, do not count there.
        purelib = run(
            self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder
        )
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        Path(purelib.strip(), "dependencies.pth").write_text("\n".join(paths))

    def run_here(self, program: Path, *words: str) -> str:
        return run(program, *words, folder=self.network.folder)

    def test_installed(self) -> None:
        """From the wheel alone: commands, the sample configuration, a node that reads it, clients, and the
        examples of the pages."""
        self.assertIn(
            str(self.bin.parent), self.run_here(self.python, "-c", "import dht14; print(dht14.__file__)")
        )
        self.assertIn("usage: dht14 COMMAND", self.run_here(self.bin / "dht14", "--help"))
        version = distribution("dht14").version
        for command in ((self.bin / "dht14",), (self.python, "-m", "dht14")):
            self.assertEqual(self.run_here(*command, "--version"), f"DHT-14 {version}\n")
        for folder, name, source in (
            ("man/man1", "dht14.1", "docs"),
            ("bash-completion/completions", "dht14", "docs/completion"),
            ("zsh/site-functions", "_dht14", "docs/completion"),
        ):
            installed = self.bin.parent / "share" / folder / name
            self.assertEqual(installed.read_text(), (TOP / source / name).read_text())
        sample = self.run_here(self.python, "-c", SHOW_SAMPLE)
        self.assertEqual(sample, (TOP / "conf" / "config.ini").read_text())
        (self.network.folder / "config.ini").write_text(sample)
        node = self.network.node(
            "--config",
            str(self.network.folder / "config.ini"),
            environment={"PYTHONPATH": ""},
            program=(str(self.python), "-c", RUN_TWISTD),
        ).wait_for_api()
        address = f"127.0.0.1:{node.api_port}"
        for page in ("README.md", "docs/pypi.md"):
            for example in PYTHON.findall((TOP / page).read_text()):
                lines = [line for line in example.splitlines() if line]
                self.assertLessEqual(len(lines), 10)
                printed = self.run_here(self.python, "-c", example.replace("127.0.0.1:7400", address))
                self.assertIn("b'hello, all'\n", printed)
        self.run_here(self.bin / "dht14", "put", "greeting", "hello", "--api-address", address)
        # As on a system without Twisted, and without what only Unix has.
        found = self.run_here(self.python, "-c", UNIX_ONLY, "get", "greeting", "--api-address", address)
        self.assertEqual(found, "hello")
