"""Opens what a cut has left, as a node does at its start, and compares it with what was promised."""

from pathlib import Path

from dht14.app.state_file import read_state
from dht14.errors import ConfigError
from dht14.records.kept import KeptState
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Verdict
from dht14.security.identity import Puzzle, public_bytes
from tests.cuts.expected import Expected, Promised, digest
from tests.cuts.opening import FLOOR_TTL, KEPT_LIMIT, LIMIT, PUZZLE, Node, open_node

DATA_DIR = "data/node"
"""Below the folder of a recording."""
NEW_KEY = 0x7E57 << 8
"""Nothing else writes under it."""


class Broken(AssertionError):
    """A promise was broken."""


def require(is_kept: object, *what: object) -> None:
    """Raise `Broken` unless it is so."""
    if not is_kept:
        raise Broken(" ".join(map(str, what)))


def recover(
    folder: Path, expected: Expected, puzzle: Puzzle = PUZZLE, limits: tuple[int, int] = (LIMIT, KEPT_LIMIT)
) -> None:
    """Start on what is in this folder, and stop; raise `Broken` if a promise was broken."""
    path = str(folder / DATA_DIR)
    read_state(path)
    node = _opened(path, expected, puzzle, limits)
    try:
        _check(node, expected)
        _use(node, expected.now)
    finally:
        node.close()


def _opened(path: str, expected: Expected, puzzle: Puzzle, limits: tuple[int, int]) -> Node:
    refused = ""
    for key in expected.keys:
        try:
            return open_node(path, bytes.fromhex(key) or None, lambda say, **fields: None, puzzle, limits)
        except (ConfigError, OSError) as error:
            refused = str(error)
    raise Broken(f"does not start: {refused}")


def _check(node: Node, expected: Expected) -> None:
    if expected.public_key:
        public_key = public_bytes(node.identity.private_key).hex()
        require(public_key == expected.public_key, "the identity is another")
    if expected.node_id:
        require(f"{node.identity.node_id:064x}" == expected.node_id, "the node id is another")
    require(not expected.token or node.token == expected.token, "the token is another")
    require("set aside" not in node.notes.names, "the database was set aside:", node.notes.heard)
    require(not node.values.set_aside, "the folder was set aside:", node.values.set_aside)
    require(not (expected.was_opened and node.values.is_missing), "the database is missing")
    for key, promised in expected.records.items():
        _check_record(node, key, promised, expected.now)
    for key, promised in expected.kept.items():
        _check_kept(node, key, promised)
    node.database.check_invariants()
    require(node.notes.names == ["opened"], "the database tells", node.notes.heard)


def _check_record(node: Node, key: int, promised: Promised, now: float) -> None:
    name = f"record {key:x} number {promised.held}"
    record = node.database.get(key, now)
    found = -1
    if record is not None:
        require(digest(record.value) in promised.numbers, name, "has a value that nobody wrote")
        require(record.expires_at > now, name, "is served after its end")
        found = promised.numbers[digest(record.value)]
    if promised.held < 0 or not promised.stays:
        return
    if promised.expires_at > now:
        require(record is not None, name, "is lost")
        require(found >= promised.held, name, "is older: number", found)
        if record is not None and found == promised.held:
            require(record.expires_at >= promised.expires_at, name, "ends earlier")
    elif promised.expires_at + FLOOR_TTL > now:
        floor = node.database.floor(key, now).version
        known = max(floor, record.version if record is not None else 0)
        require(known >= promised.version, name, "has expired, and its version is forgotten")


def _check_kept(node: Node, key: int, promised: Promised) -> None:
    name = f"kept value {key:x} number {promised.held}"
    entry = node.database.kept.get(key)
    found = -1
    if entry is not None:
        require(entry.state is KeptState.RENEWED, name, "is not renewed")
        value = node.database.kept.value(entry)
        require(
            value is not None and digest(value) in promised.numbers, name, "has a value that nobody wrote"
        )
        found = promised.numbers[digest(value or b"")]
    if not promised.is_changing:
        require(found == promised.held, name, "is number", found)


def _use(node: Node, now: float) -> None:
    """The node can work: it takes a record, and drops what has expired."""
    verdicts: list[Verdict] = []
    record = Record(key=NEW_KEY, value=b"new", version=version_at(now), expires_at=now + 60, replication=8)
    node.database.offer(record, now, verdicts.append)
    node.run_until(lambda: verdicts)
    require(verdicts[0].outcome is Outcome.HELD, "takes no new record:", verdicts)
    require(node.database.get(NEW_KEY, now) == record, "does not find a new record")


def check_files(folder: Path, expected: Expected) -> None:
    """Raise `Broken` if a file that a command wrote is not what it may be."""
    for name, allowed in expected.files.items():
        path = folder / name
        found = digest(path.read_bytes()) if path.exists() else ""
        require(found in allowed or "*" in allowed, name, "is neither the old nor the new file")
