"""Wall clocks of processes, to be set while these run. This needs libfaketime: `tox -e clocks` has it."""

import os
import subprocess
import sys
import time
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SkipTest

HOUR = 3600
OF_THE_SYSTEM = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/*/faketime/libfaketimeMT.so.1")
OF_THE_PACKAGE = Path("vendor", "libfaketime", "src", "libfaketime.so.1")
"""In the package of that name of PyPI."""
MISSING = "libfaketime is not installed (tox -e clocks has it; Debian: apt-get install faketime)"
CLOCKS = "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"


def _library() -> str:
    """Return the path of libfaketime: that of the system, or else that of the Python package."""
    for place in OF_THE_SYSTEM:
        for path in glob(place):
            return path
    package = find_spec("libfaketime")
    for folder in package.submodule_search_locations or () if package else ():
        if (Path(folder) / OF_THE_PACKAGE).is_file():
            return str(Path(folder) / OF_THE_PACKAGE)
    raise SkipTest(MISSING)


class HostClock:
    """The wall clock of some processes, set through a file: it runs like the real one, some hours ahead."""

    def __init__(self, folder: Path, at_start: float = 0.0) -> None:
        """Make it, `at_start` hours ahead, as it must be whenever a node begins that has records: the times
        on its disk are those of the clock at its starts. Raises SkipTest where no library is there, or where
        it does not do its work."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "ahead"
        self._at_start = at_start
        self.environment = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Otherwise a thread that waits for the interpreter's lock never waits, and slows all others.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
        self.set(25)
        printed = subprocess.run(
            [sys.executable, "-c", CLOCKS],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout.split()
        steady = [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
        if len(printed) != 3 or any(
            abs(float(seen) - now) > HOUR for seen, now in zip(printed[1:], steady, strict=True)
        ):
            raise SkipTest("this libfaketime does not leave the clocks alone that nobody can set")
        assert float(printed[0]) - time.time() > 24 * HOUR, "the clock cannot be set"
        self.begin()

    def begin(self) -> None:
        """Set it as it is when a node begins."""
        self.set(self._at_start)

    def set(self, hours: float) -> None:
        """Set it `hours` ahead."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours * HOUR:+.0f}\n")
        new.replace(self._file)
