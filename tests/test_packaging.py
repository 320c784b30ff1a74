import configparser
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.test_package import SOURCES

TOP = Path(__file__).parent.parent


class PackagingTests(SynchronousTestCase):
    """setup.cfg, the lists of requirements and the package agree with the checkout."""

    def setUp(self) -> None:
        setup = configparser.ConfigParser(interpolation=None)
        setup.read(TOP / "setup.cfg")
        self.setup = setup
        self.options = setup["options"]

    def test_packages(self) -> None:
        """setup.cfg lists every folder of modules, and that of the plugins."""
        here = {".".join(file.parent.relative_to(TOP).parts) for file in (TOP / "dht14").rglob("*.py")}
        self.assertEqual(set(self.options["packages"].split()), here | {"twisted.plugins"})

    def test_page(self) -> None:
        """What an index of packages shows has no link: one into the checkout leads nowhere there."""
        page = self.setup["metadata"]["long_description"].removeprefix("file: ")
        self.assertNotRegex((TOP / page).read_text(), r"\]\(|<a |^\[.*\]:")

    def test_extras(self) -> None:
        """Extras are for users. Every tool has its own list of requirements; tox.ini names existing ones."""
        self.assertEqual(list(self.setup["options.extras_require"]), ["plot"])
        lists = {file.name for file in (TOP / "conf" / "develop").iterdir()}
        named = set(re.findall(r"conf/develop/(\w+\.txt)", (TOP / "tox.ini").read_text()))
        self.assertEqual(lists - named, {"tox.txt"})
        self.assertEqual(named - lists, set())

    def test_image(self) -> None:
        """The image is built from files that .dockerignore lets pass, and from all that the wheel needs."""
        copied = set()
        for words in re.findall(r"^COPY (?!--from)(.*)$", (TOP / "Dockerfile").read_text(), re.MULTILINE):
            copied.update(words.split()[:-1])
        passed = set(re.findall(r"^!(.*)$", (TOP / ".dockerignore").read_text(), re.MULTILINE))
        self.assertEqual(copied - passed, set())
        self.assertEqual(set(SOURCES) - copied, set())

    def test_requirements(self) -> None:
        """The image has a pinned version, with its hashes, of everything that the package needs (make
        lock)."""
        needed = {_name(line) for line in self.options["install_requires"].split("\n") if line}
        pinned = (TOP / "conf" / "requirements.txt").read_text().replace("\\\n", "")
        lines = [line for line in pinned.splitlines() if line and line.lstrip()[0] != "#"]
        self.assertEqual(needed - {_name(line) for line in lines}, set())
        for line in lines:
            self.assertRegex(line, r"^[\w.-]+==\S+( .*)? --hash=sha256:[0-9a-f]{64}")


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[._-]+", "-", found[0]).lower()
