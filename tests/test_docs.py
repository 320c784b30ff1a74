import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.python import reflect
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import StartError

TOP = Path(__file__).parent.parent
LOG = {"debug", "info", "warn", "error", "critical", "failure"}


def events() -> Iterator[tuple[str, str]]:
    """Text and level of every event that any module logs."""
    for path in (TOP / "dht14").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LOG
                and ast.unparse(node.func.value).endswith("log")
            ):
                level = "critical" if node.func.attr == "failure" else node.func.attr
                yield ast.literal_eval(node.args[0]), level


class OperationsTests(SynchronousTestCase):
    """docs/operations.md tells all that an operator meets."""

    def setUp(self):
        self.page = (TOP / "docs" / "operations.md").read_text()

    def test_events(self):
        """Every event that is logged is in the table of events, once and at its level, and no other."""
        table = self.page.partition("What the log says")[2]
        told = re.findall(r"^\| `(.+?)` \| (\w+) \|", table, re.MULTILINE)
        self.assertEqual(sorted(told), sorted(set(events())))

    def test_exit_codes(self):
        """So is every exit code of a node that cannot start."""
        for error in StartError.__subclasses__():
            self.assertIn(f"\n| {error.exit_code} |", self.page)


class PagesTests(SynchronousTestCase):
    """What the pages point to is there."""

    def setUp(self):
        self.pages = {path: path.read_text() for path in (TOP / "README.md", *(TOP / "docs").glob("*.md"))}

    def test_links(self):
        """Every link leads to a file, and to a heading of it."""
        for path, text in self.pages.items():
            for link in re.findall(r"\]\(([^)]+)\)", text):
                file, _, anchor = link.partition("#")
                target = (path.parent / file) if file else path
                self.assertTrue(target.exists(), f"{path.name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target.read_text()), f"{path.name}: {link}")

    def test_named_tests(self):
        """Every test that a page names can be found under that name."""
        for path, text in self.pages.items():
            for name in re.findall(r"`(tests\.[\w.]+)`", text):
                self.assertTrue(reflect.namedAny(name), f"{path.name}: {name}")


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
