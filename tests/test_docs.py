import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.python import reflect
from twisted.trial.unittest import SynchronousTestCase

from dht14.app import log_events
from dht14.errors import StartError
from tests.test_house import LAYERS, modules

TOP = Path(__file__).parent.parent
LOG = {"debug", "info", "warn", "error", "critical", "failure"}


def events() -> Iterator[tuple[str, str, str]]:
    """Yield text, name and level of every event that any module logs."""
    for path in (TOP / "dht14").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LOG
                and ast.unparse(node.func.value).endswith("log")
            ):
                level = "critical" if node.func.attr == "failure" else node.func.attr
                names = {word.arg: word.value for word in node.keywords}
                name = ast.literal_eval(names["event"]) if "event" in names else f"(none: {path.name})"
                yield ast.literal_eval(node.args[0]), name, level


class OperationsTests(SynchronousTestCase):
    """docs/operations.md describes every event and exit code."""

    def setUp(self):
        self.page = (TOP / "docs" / "operations.md").read_text()

    def test_events(self):
        """The table of events has every event that is logged, once, with its name and level, and no
        other."""
        table = self.page.partition("What the log says")[2]
        listed = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (\w+) \|", table, re.MULTILINE)
        self.assertEqual(sorted(listed), sorted(set(events())))

    def test_event_names(self):
        """An event has one name, which is that of no other; a bug is named so."""
        logged = sorted(set(events()))
        self.assertEqual(len({name for _, name, _ in logged}), len(logged))
        for text, name, _ in logged:
            self.assertRegex(name, r"^[a-z_]+\.[a-z_]+$")
            self.assertEqual(name.endswith("bug"), "this is a bug" in text.lower(), name)

    def test_one(self) -> None:
        """No event puts a number before a noun in the plural: there it would say "1 contacts"."""
        table = self.page.partition("What the log says")[2]
        for line in re.findall(r"^\| `(.+?)` \| `", table, re.MULTILINE):
            found = re.findall(
                r"\{(\w+)[^}]*\} (?:of them|more|were|are|have|(?:[a-z]+ )?[a-z]{3,}s)\b", line
            )
            # These are large numbers, or no numbers.
            others = {"size", "limit", "used", "expected", "tries", "rate", "path", "reason", "host"}
            self.assertLessEqual(set(found), others, line)

    def test_other_events(self):
        """The page has the names of events that Twisted logs, and of those about the log itself."""
        own = (log_events.LINES_LOST, log_events.REPEATED, log_events.NOT_FORMATTED)
        for name in (*own, *log_events.OF_TWISTED, log_events.OTHER, log_events.OTHER_ERROR):
            self.assertIn(f"| `{name}` |", self.page)

    def test_exit_codes(self):
        """The table of exit codes has every one of a node that cannot start."""
        for error in StartError.__subclasses__():
            self.assertIn(f"\n| {error.exit_code} |", self.page)


class PagesTests(SynchronousTestCase):
    """Links and names of tests on the pages are right."""

    def setUp(self):
        self.pages = {
            path: path.read_text()
            for path in (TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md"))
        }

    def test_links(self):
        """Every link leads to an existing file, and to an existing heading of it."""
        for path, text in self.pages.items():
            for link in re.findall(r"\]\(([^)]+)\)", text):
                file, _, anchor = link.partition("#")
                target = (path.parent / file) if file else path
                self.assertTrue(target.exists(), f"{path.name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target.read_text()), f"{path.name}: {link}")

    def test_named_tests(self):
        """Every test that a page names exists."""
        for path, text in self.pages.items():
            for name in re.findall(r"`(tests\.[\w.]+)`", text):
                self.assertTrue(reflect.namedAny(name), f"{path.name}: {name}")


class ArchitectureTests(SynchronousTestCase):
    """docs/architecture.md, the README and CONTRIBUTING.md name only what is in the code."""

    def setUp(self):
        self.page = (TOP / "docs" / "architecture.md").read_text()
        self.names = Names()

    def test_layers(self):
        """The map has the layers of the code."""
        rows = re.findall(r"^\| (\d+) \| `([\w.]+)/?` \|", self.page, re.MULTILINE)
        mapped = {(int(number), part.removesuffix(".py")) for number, part in rows}
        self.assertEqual(mapped, {(n, part) for n, parts in enumerate(LAYERS, 1) for part in parts})

    def test_names(self):
        """Every file, class, method, function and constant in backquotes exists."""
        for path in (TOP / "docs" / "architecture.md", TOP / "README.md", TOP / "CONTRIBUTING.md"):
            prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
            unknown = [
                name for name in re.findall(r"`([^`\n]+)`", prose) if not self.names.may_be_named(name)
            ]
            self.assertEqual(unknown, [], path.name)

    def test_docstrings(self):
        """What a text in the code calls `Class.member` is a member of that class, or of a base of it."""
        for path in (TOP / "dht14").rglob("*.py"):
            unknown = [
                f"{owner}.{member}"
                for owner, member in re.findall(r"`([A-Z]\w*[a-z]\w*)\.(\w+)`", path.read_text())
                if owner in self.names.classes and member not in self.names.members(owner)
            ]
            self.assertEqual(unknown, [], path.name)

    def test_functions(self):
        """Every function, attribute and constant in backquotes on the page of the architecture exists."""
        named = re.findall(r"`([a-z]+_[a-z_]+|[A-Z]+_[A-Z_]+|[A-Z]{2,})`", self.page)
        self.assertEqual([name for name in named if name not in self.names.words], [])

    def test_map(self):
        """Every folder in the maps of the package and of the README exists."""
        readme = (TOP / "README.md").read_text().partition("## The map")[2].partition("\n## ")[0]
        for text in (ast.get_docstring(ast.parse((TOP / "dht14" / "__init__.py").read_text())), readme):
            for part in re.findall(r"^ +([a-z]+)/ ", str(text), re.MULTILINE):
                self.assertTrue((TOP / "dht14" / part).is_dir(), part)

    def test_pictures(self):
        """Every box in the picture of a node is a class of that part; so is every participant of a lookup."""
        nodes, lookup = re.findall(r"^```mermaid\n(.*?)^```$", self.page, re.MULTILINE | re.DOTALL)
        boxes = re.findall(r'\w+\["([a-z/]+)/ (\w+)(?: passes)?"\]', nodes)
        self.assertGreater(len(boxes), 15)
        for part, name in boxes:
            self.assertIn((part, name), self.names.class_homes)
        parties = re.findall(r"participant \w+ as (\w+)", lookup)
        self.assertEqual([name for name in parties if name not in self.names.classes], [])
        for fact in re.findall(r"-->>R: (call_\w+)", lookup):
            self.assertIn(fact, self.names.words)


class Names:
    """The names in dht14/."""

    def __init__(self) -> None:
        self.classes: dict[str, set[str]] = {}
        """Their attributes and methods, by name."""
        self.bases: dict[str, set[str]] = {}
        """The classes that each inherits from."""
        self.class_homes: set[tuple[str, str]] = set()
        """The folder of each, without `dht14/`, and its name."""
        self.words: set[str] = set()
        """Functions, methods, attributes and constants."""
        for module in modules():
            folder = str(Path(module.name).parent)
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, set()).update(_members(node))
                    self.bases.setdefault(node.name, set()).update(map(ast.unparse, node.bases))
                    self.class_homes.add((folder, node.name))
                self.words.update(_defined(node))

    def members(self, name: str) -> set[str]:
        """Return attributes and methods of a class, those of its bases in dht14/ included."""
        bases = self.bases.get(name, set())
        return self.classes.get(name, set()).union(*(self.members(base) for base in bases))

    def may_be_named(self, name: str) -> bool:
        """Whether a page may name this: it exists in the code, or it is a command or a value."""
        if re.fullmatch(r"[\w./-]*\.(py|md|ini|toml|cfg|sh|yaml|service|txt)", name):
            return any((top / name).exists() for top in (TOP, TOP / "dht14", TOP / "docs"))
        if re.fullmatch(r"[a-z_]+(/[a-z_]+)*/", name):
            return any((top / name).is_dir() for top in (TOP, TOP / "dht14")) or name == "values/"
        if re.fullmatch(r"[A-Z]\w*[a-z]\w*\.\w+", name):
            owner, _, member = name.partition(".")
            return owner == "Deferred" or member in self.members(owner)
        if re.fullmatch(r"_?[A-Z]\w*[a-z]\w*", name):
            return name in ("Deferred", "Makefile") or name in self.classes or name in self.words
        return True


def _members(node: ast.ClassDef) -> set[str]:
    names = {name for inside in node.body for name in _defined(inside)}
    return names | {
        target.attr
        for target in ast.walk(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and ast.unparse(target.value) == "self"
    }


def _defined(node: ast.AST) -> list[str]:
    """Return the names that a definition or an assignment creates."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def anchors(page: str) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
