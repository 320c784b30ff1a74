import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

TOP = Path(__file__).parent.parent / "dht14"

# From the ground up. An import goes to a lower layer, or stays in its own part.
LAYERS = (
    {"errors", "bounded", "metrics"},
    {"kademlia"},
    {"records", "security", "files"},
    {"wire", "session", "database"},
    {"node"},
    {"net", "maintenance"},
    {"node_metrics"},
    {"stack"},
    {"stack_builder"},
    {"client"},
    {"app", "sim"},
    {"embedding"},
    {"cmd", "aio", "testing"},
    {"__main__"},
)
# No Twisted, no log, no clock, no thread.
PURE = {"errors", "bounded", "metrics", "kademlia", "records", "security", "files", "wire", "session"}
# The database waits for its disk in a thread. It reads no clock and writes no log.
ALLOWED = {"database": {"lmdb", "threading"}}
IMPURE_MODULES = {"twisted", "logging", "time", "asyncio", "threading", "secrets", "lmdb"}
# What users of the clients meet keeps the name that says it best, though there are others inside.
PUBLIC_CLASSES = {"Client", "Node", "Receipt", "Refused", "Value"}
# Of the clients these move the bytes; their other modules are as pure as what stands below.
TRANSPORTS = {
    f"client/{name}.py"
    for name in (
        "asynchronous",
        "pipeline",
        "blocking",
        "sockets",
        "file_loop",
        "file_thread",
    )
}
# Outside cmd/ the reactor is imported by a node without another one, and by the process of a node in a test
# network, which has nothing else to do: both when they start, not when they are imported.
REACTOR_USERS = {"embedding/node.py", "embedding/testnet_node.py"}
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
        found.append(Module(str(inside), first, ast.parse(text), text.count("\n")))
    return found


def _dotted(name: str) -> str:
    """Return the name by which a file of dht14/ is imported."""
    return ".".join(("dht14", *Path(name).with_suffix("").parts))


def layer(part: str) -> int:
    return next(n for n, parts in enumerate(LAYERS) if part in parts)


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
            {part for parts in LAYERS for part in parts},
        )

    def test_imports_point_downward(self):
        """No part imports from one above it or beside it; app/ and sim/ never meet."""

        def wrong() -> Iterator[str]:
            for module in self.modules:
                if module.part == "__init__":
                    continue  # Its public names are imported when they are asked for.
                for name in module.imports():
                    words = name.split(".")
                    if words[0] != "dht14" or len(words) < 2 or words[1].startswith("__"):
                        continue
                    if words[1] != module.part and layer(words[1]) >= layer(module.part):
                        yield f"{module.name} imports {name}"

        self.none(wrong())

    def test_no_circles(self):
        """No module imports itself through others, not even inside a function."""
        modules = {_dotted(module.name): module for module in self.modules}
        imports = {
            name: {part for full in module.imports() for part in (full, full.rpartition(".")[0])}
            for name, module in modules.items()
        }
        TopologicalSorter({name: found & modules.keys() for name, found in imports.items()}).prepare()

    def test_pure_parts(self):
        """From wire/, session/ and database/ down: no Twisted, log or clock; a thread only in the last."""
        self.none(
            f"{module.name} imports {name}"
            for module in self.modules
            if module.part in PURE | ALLOWED.keys()
            for name in module.imports()
            if name.split(".")[0] in IMPURE_MODULES - ALLOWED.get(module.part, set())
        )

    def test_clients(self):
        """The clients import nothing of a node and no Twisted; only their transports a clock and a socket.
        `aio` has a node, too, which it imports when it is asked for."""
        downstairs = {"errors", "kademlia", "records", "files", "wire", "client"}
        for module in self.modules:
            if module.part not in ("client", "aio"):
                continue
            names = {tuple(name.split(".")) for name in module.imports()}
            if module.part == "aio":
                names = {words for words in names if words[:2] != ("dht14", "embedding")}
            self.assertLessEqual(
                {words[1] for words in names if words[0] == "dht14"}, downstairs, module.name
            )
            unwanted = {"twisted"} if module.name in TRANSPORTS else IMPURE_MODULES | {"socket"}
            self.assertEqual({words[0] for words in names} & unwanted, set(), module.name)

    def test_what_clients_load(self):
        """Importing `dht14` loads nothing. Importing the clients loads no Twisted, nothing that only signing
        needs, and for the blocking one no asyncio."""
        for names, unwanted in (
            ("dht14", ("dht14.client", "attr", "asyncio")),
            ("dht14, sys; dht14.Client", ("twisted", "asyncio", "cryptography", "cbor2", "lmdb")),
            ("dht14.aio", ("twisted", "cryptography", "cbor2", "lmdb")),
            ("dht14.testing", ("twisted", "cryptography", "cbor2", "lmdb")),
            ("dht14.aio; dht14.aio.run_node", ("twisted.internet.reactor",)),
            ("dht14; dht14.Node", ("twisted.internet.reactor",)),
        ):
            code = f"import {names}; import sys; print(*sys.modules)"
            loaded = subprocess.run(
                [sys.executable, "-c", code], cwd=TOP.parent, capture_output=True, text=True, check=True
            ).stdout.split()
            self.assertEqual(set(loaded) & set(unwanted), set(), names)

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
        """Only cmd/, and a node in a program that names no other, imports the reactor; everybody else is
        given one. A LoopingCall imports it, too."""
        self.none(
            module.name
            for module in self.modules
            if module.part != "cmd" and module.name not in REACTOR_USERS
            for name in module.imports()
            if name.startswith("twisted.internet.reactor") or name == "twisted.internet.task.LoopingCall"
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

    def test_class_names(self):
        """A class name is used once in dht14/, so that a search for it ends in one place."""
        found: dict[str, list[str]] = {}
        for module in self.modules:
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(module.name)
        # twistd looks for a class of this name in both plugins.
        for name in ("Options", *PUBLIC_CLASSES):
            del found[name]
        self.none(f"{name}: {places}" for name, places in found.items() if len(places) > 1)
