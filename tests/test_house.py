import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

TOP = Path(__file__).parent.parent / "dht14"

# From the ground up. An import goes to a lower storey, or stays in its own part.
STOREYS = (
    {"errors"},
    {"kademlia", "storage", "security"},
    {"wire"},
    {"node"},
    {"net"},
    {"config"},
    {"service", "sim"},
    {"cmd"},
)
# What is no package of its own but belongs together.
PART_OF = {
    "config_values": "config",
    "settings": "config",
    "logs": "config",
    "log_file": "config",
    "data_dir": "config",
    "state_file": "config",
    "start": "service",
    "values_dir": "config",
    "disk_watch": "service",
    "risks": "service",
}
# Ids and contacts are the words of everybody, and all that has pools gives shares of them in one way: the arrows
# between parts of the same storey.
COMMON_WORDS = ("dht14.kademlia.keyspace", "dht14.kademlia.contact", "dht14.security.shares")
PURE = {"errors", "kademlia", "storage", "security", "wire"}
# The records of a node lie on a disk, and a disk is waited for in a thread: both behind `RecordStore`.
ON_DISK = {
    "database/file_check.py",
    "database/database.py",
    "database/tables.py",
    "database/writer_thread.py",
}
DISK_MODULES = {"lmdb", "threading"}
IMPURE_MODULES = {"twisted", "logging", "time", "asyncio", "threading", "secrets", "lmdb"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60


class Module(NamedTuple):
    """One file of dht14/."""

    name: str
    part: str
    tree: ast.Module
    lines: int

    def imports(self) -> Iterator[str]:
        """Dotted names, those imported from a package included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Module]:
    """Every file below dht14/, parsed."""
    found = []
    for path in sorted(TOP.rglob("*.py")):
        inside = path.relative_to(TOP)
        text = path.read_text(encoding="utf-8")
        first = inside.parts[0].removesuffix(".py")
        found.append(Module(str(inside), PART_OF.get(first, first), ast.parse(text), text.count("\n")))
    return found


def storey(part: str) -> int:
    return next(n for n, parts in enumerate(STOREYS) if part in parts)


class HouseTests(SynchronousTestCase):
    """The rules of the house that a reader relies on."""

    def setUp(self):
        self.modules = modules()

    def none(self, found: Iterator[str]) -> None:
        self.assertEqual(list(found), [])

    def test_all_seen(self):
        """Every module belongs to a part, and there are some in each."""
        self.assertEqual(
            {module.part for module in self.modules} - {"__init__"},
            {part for parts in STOREYS for part in parts},
        )

    def test_imports_point_downward(self):
        """No part imports from one above it or beside it; app/service.py and sim/ never meet."""

        def wrong() -> Iterator[str]:
            for module in self.modules:
                for name in module.imports():
                    words = name.split(".")
                    if words[0] != "dht14" or len(words) < 2 or words[1].startswith("__"):
                        continue
                    target = PART_OF.get(words[1], words[1])
                    if target == module.part or (name.startswith(COMMON_WORDS) and module.part != "errors"):
                        continue
                    if storey(target) >= storey(module.part):
                        yield f"{module.name} imports {name}"

        self.none(wrong())

    def test_pure_parts(self):
        """From wire/ down there is no Twisted, no log, no clock and no thread."""
        self.none(
            f"{module.name} imports {name}"
            for module in self.modules
            if module.part in PURE
            for name in module.imports()
            if name.split(".")[0] in IMPURE_MODULES
            and not (module.name in ON_DISK and name.split(".")[0] in DISK_MODULES)
        )

    def test_randomness_is_given(self):
        """Outside cmd/ and the composition roots nobody draws from the global random source."""

        def drawn() -> Iterator[str]:
            for module in self.modules:
                yield from (
                    f"{module.name} imports {name}"
                    for name in module.imports()
                    if name.startswith("random.") and name != "random.Random"
                )
                for node in ast.walk(module.tree):
                    if (
                        isinstance(node, ast.Attribute)
                        and isinstance(node.value, ast.Name)
                        and node.value.id == "random"
                        and node.attr not in ("Random", "SystemRandom")
                    ):
                        yield f"{module.name}:{node.lineno} random.{node.attr}"

        self.none(drawn())

    def test_global_reactor(self):
        """Only cmd/ imports the reactor; everybody else is given one."""
        self.none(
            module.name
            for module in self.modules
            if module.part != "cmd"
            for name in module.imports()
            if name.startswith("twisted.internet.reactor")
        )

    def test_sizes(self):
        """A module and a function are read in one sitting."""

        def long() -> Iterator[str]:
            for module in self.modules:
                if module.lines > LONGEST_MODULE:
                    yield f"{module.name}: {module.lines} lines"
                for node in ast.walk(module.tree):
                    if isinstance(node, FUNCTION):
                        lines = (node.end_lineno or node.lineno) - node.lineno + 1
                        if lines > LONGEST_FUNCTION:
                            yield f"{module.name}: {node.name} has {lines} lines"

        self.none(long())

    def test_docstrings(self):
        """Modules, public classes and public functions say what they are."""

        def silent(module: Module, inside: ast.Module | ast.ClassDef, path: str) -> Iterator[str]:
            if ast.get_docstring(inside) is None:
                yield path
            of_interface = "implementer(" in "".join(map(ast.unparse, getattr(inside, "decorator_list", ())))
            for node in inside.body:
                name = getattr(node, "name", "_")
                # Names in camel case are Twisted's, and those of an interface are told about there.
                if name.startswith("_") or (name != name.lower() and not isinstance(node, ast.ClassDef)):
                    continue
                if isinstance(node, ast.ClassDef):
                    yield from silent(module, node, f"{path}: {name}")
                elif isinstance(node, FUNCTION) and not of_interface and not ast.get_docstring(node):
                    yield f"{path}: {name}"

        self.none(missing for module in self.modules for missing in silent(module, module.tree, module.name))

    def test_plugins(self):
        """The folder of plugins is no package: it would hide Twisted itself."""
        plugins = TOP.parent / "twisted"
        self.assertEqual(list(plugins.rglob("__init__.py")), [])
        self.assertTrue((plugins / "plugins" / "dht14_plugin.py").exists())
