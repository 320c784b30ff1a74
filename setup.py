"""Adds the sample configuration to the package. Everything else is in setup.cfg."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSample(build_py):
    """Copies conf/config.ini into the package: a package has no data from outside of its folder."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file("conf/config.ini", str(Path(self.build_lib, "dht14", "config.ini")))


setup(cmdclass={"build_py": BuildWithSample})
