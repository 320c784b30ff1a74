"""Opens a data directory in the steps of a node's start, without its network."""

import queue
from collections.abc import Callable

from attrs import define, field

from dht14.app.admin import admin_token
from dht14.app.data_dir import DataDir
from dht14.app.database_dir import DatabaseDir, unlock
from dht14.app.state_file import StateFile
from dht14.database.database import Database
from dht14.database.file_check import SOUND, UNREADABLE, verify_file
from dht14.database.writer_thread import WriterThread
from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.records.record import Record
from dht14.records.version_floors import FLOOR_MARGIN
from dht14.security.identity import Identity, Puzzle, public_bytes
from tests.database.disk import TIMEOUT, Notes

MAX_TTL = 86_400
FLOOR_TTL = MAX_TTL + FLOOR_MARGIN
LIMIT = 512 << 10
"""Bytes of the database: small, so that it is full soon. A transaction has few records."""
KEPT_LIMIT = 128 << 10
PUZZLE = Puzzle("main", 1)

Say = Callable[..., None]
"""Tells what the process has shown to others, and must find again."""


def answers_for(record: Record) -> bool:
    """Whether the node must keep this record even if its store is full."""
    return record.key & 1 == 0


class CheckedHere(WriterThread):
    """Checks the file in this process: the check is the same, and a process less for each cut."""

    def _is_sound(self) -> bool:
        code = verify_file(self._path)
        if code == UNREADABLE:
            raise OSError("the check of the database failed")
        return code == SOUND


@define
class Node:
    """What a node has open."""

    data_dir: DataDir
    identity: Identity
    token: str
    values: DatabaseDir
    database: Database
    state: StateFile
    contacts: tuple[Contact, ...] | None
    """None if they were damaged."""
    notes: Notes
    calls: "queue.SimpleQueue[Callable[[], None]]" = field(factory=queue.SimpleQueue)

    def run_until(self, condition: Callable[[], object]) -> None:
        """Make the calls of the writer thread until then."""
        while not condition():
            self.calls.get(timeout=TIMEOUT)()

    def close(self) -> None:
        """Stop as a node does."""
        self.database.close()
        self.state.remove()
        self.data_dir.show_working(False)
        self.data_dir.close()


def open_node(
    path: str,
    key: bytes | None,
    say: Say,
    puzzle: Puzzle = PUZZLE,
    limits: tuple[int, int] = (LIMIT, KEPT_LIMIT),
) -> Node:
    """Open what is below `path`, or make it. Raises what a node's start raises."""
    data_dir = DataDir.open(path)
    try:
        return _open(data_dir, key, say, puzzle, limits)
    except BaseException:
        data_dir.close()
        raise


def _open(data_dir: DataDir, key: bytes | None, say: Say, puzzle: Puzzle, limits: tuple[int, int]) -> Node:
    state = StateFile(data_dir)
    identity = data_dir.identity(puzzle)
    public_key = public_bytes(data_dir.private_key())
    say("identity", public_key=public_key.hex())
    if identity is None:
        proof = next(proof for proof in puzzle.solve(public_key) if proof is not None)
        identity = data_dir.save_proof(proof, puzzle)
    say("node", node_id=f"{identity.node_id:064x}")
    values = unlock(data_dir, key, identity.node_id)
    say("unlocked", key=key.hex() if key else "")
    token = admin_token(data_dir)
    say("token", token=token)
    try:
        contacts = data_dir.load_contacts(puzzle.verify_proof)
    except Malformed:
        contacts = None
    calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    notes = Notes()
    database = Database(
        path=values.path,
        format=values.format,
        own_id=identity.node_id,
        limit=limits[0],
        floor_ttl=FLOOR_TTL,
        answers_for=answers_for,
        call_soon=calls.put,
        events=notes,
        seconds=lambda: 0.0,
        make_writer_thread=CheckedHere,
        kept_limit=limits[1],
    )
    node = Node(data_dir, identity, token, values, database, state, contacts, notes, calls)
    opened: list[bool] = []
    database.open(lambda: opened.append(True))
    try:
        node.run_until(lambda: opened or _has_failed(notes))
    except BaseException:
        database.close()
        raise
    say("opened")
    return node


def _has_failed(notes: Notes) -> bool:
    failed = [heard for heard in notes.heard if heard[0] == "writing failed"]
    if failed:
        raise OSError(failed)
    return False
