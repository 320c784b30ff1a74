"""Runs processes under the shim, and has the log of what they did."""

import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen

from tests.cuts.disk import Change, Disk, Op, changes, content_of, inodes_in, make
from tests.cuts.expected import mark
from tests.process.nodes import environment

SHIM = Path(__file__).with_name("shim.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")
NO_COMPILER = "needs a C compiler, and a system where LD_PRELOAD works"
KILLED = 137
LIFE_TIMEOUT = 300.0


def has_shim() -> bool:
    """Whether the shim can be made and loaded here."""
    return COMPILER is not None and sys.platform == "linux"


def compile_shim(folder: Path) -> Path:
    """Return the shim as a library."""
    assert COMPILER is not None
    library = folder / "shim.so"
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-o", str(library), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


@frozen
class Recorder:
    """One folder that is written under the shim, and its log. Both must be in a folder of its own."""

    library: Path
    folder: Path
    log: Path
    begin: dict[str, tuple[int, bytes | None]]
    """The inodes and contents of the folder at the beginning, by path."""
    keys: str = ""
    """The encryption keys that the workload tries."""

    @classmethod
    def new(cls, library: Path, place: Path) -> "Recorder":
        """Return one whose folder is empty."""
        folder = (place / "disk").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (place / "log").touch()
        return cls(library, folder, (place / "log").resolve(), inodes_in(folder))

    @classmethod
    def on(cls, library: Path, place: Path, files: dict[str, bytes | None]) -> "Recorder":
        """Return one whose folder has these files already, and they are durable."""
        place.mkdir()
        make(files, place / "disk")
        return cls.new(library, place)

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a process that writes this folder."""
        ours = {"LD_PRELOAD": str(self.library), "CUTS_FOLDER": str(self.folder), "CUTS_LOG": str(self.log)}
        return environment({**ours, "CUTS_KEYS": self.keys, **extra})

    def run(self, module: str, *words: object, end_after: int = 0, in_commit: bool = False) -> bool:
        """Run a module to its end, and return whether it came there: with `end_after` it is killed in the
        middle of that change, or of that commit."""
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            env=self.environment(**_ends(end_after, in_commit)),
            stdout=subprocess.DEVNULL,
            timeout=LIFE_TIMEOUT,
            check=False,
        )
        if done.returncode != 0 and not (end_after and done.returncode == KILLED):
            raise AssertionError(f"{module} ended with {done.returncode}")
        return done.returncode == 0

    def say(self, say: str, **fields: object) -> None:
        """Write a mark into the log: for what is acknowledged to this process."""
        with open(self.log, "ab", buffering=0) as log:
            log.write(mark(say, **fields))

    def changes(self) -> list[Change]:
        """Return the log. Raises AssertionError unless it explains the folder: nothing was missed."""
        history = list(changes(self.log.read_bytes()))
        disk = self.disk()
        for change in history:
            if change.op is not Op.MARK:
                disk.play(change)
        explained, found, mapped = disk.seen(), content_of(self.folder), disk.mapped()
        assert explained.keys() == found.keys(), explained.keys() ^ found.keys()
        for path, content in found.items():
            assert path in mapped or explained[path] == content, f"the log does not explain {path}"
        return history

    def disk(self) -> Disk:
        """Return the disk at the beginning: that which an earlier recording has left is durable."""
        return Disk(str(self.folder), self.begin)


def _ends(end_after: int, in_commit: bool) -> dict[str, str]:
    ends = {"CUTS_END_AFTER": str(end_after)} if end_after else {}
    return {**ends, "CUTS_END_IN_FLUSHED": "1"} if in_commit else ends
