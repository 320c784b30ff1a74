"""What must be found after a cut: the marks that processes wrote into the log before it.

A mark is JSON with the name `say`. A record has a number, which grows with each offer for its key: what was
acknowledged as number n must be there as number n, or a later one that was offered.
"""

import hashlib
import json
from typing import Any

from attrs import define, field

from tests.cuts.disk import Change, Op


def mark(say: str, **fields: Any) -> bytes:
    """Return a mark as a record of the log."""
    return Change(Op.MARK, data=json.dumps({"say": say, **fields}).encode()).pack()


def digest(value: bytes) -> str:
    """Return a short digest of a value."""
    return hashlib.sha256(value).hexdigest()[:32]


@define
class Promised:
    """What was said of one key."""

    numbers: dict[str, int] = field(factory=dict)
    """Of what was offered, by the digest of its value."""
    held: int = -1
    """The greatest number that was acknowledged."""
    version: int = 0
    """Its version."""
    expires_at: float = 0.0
    stays: bool = True
    """Whether the node may not drop it when its store is full."""
    is_changing: bool = False
    """Whether a change was begun, and not acknowledged yet; for kept values."""


@define
class Expected:
    """All that has been said so far."""

    now: float = 0.0
    """The clock of the node."""
    records: dict[int, Promised] = field(factory=dict)
    kept: dict[int, Promised] = field(factory=dict)
    """`held` is -1 if the value is not kept."""
    public_key: str = ""
    node_id: str = ""
    token: str = ""
    """Of the admin surface."""
    keys: list[str] = field(factory=lambda: [""])
    """The encryption keys one of which must fit; "" is that which the node made itself."""
    was_unlocked: bool = False
    """Whether a key was seen to fit."""
    was_opened: bool = False
    """Whether the present database was open."""
    files: dict[str, set[str]] = field(factory=dict)
    """The digests that a file of a command may have, by path. "*" is any, "" is that there is no file."""
    acknowledged: int = 0

    def hear(self, data: bytes) -> None:
        """Hear a mark."""
        said = json.loads(data)
        match said.pop("say"):
            case "now":
                self.now = said["now"]
            case "offered":
                self._offered(self.records, **said)
            case "held":
                self._held(**said)
            case "keeping":
                self._offered(self.kept, **said).is_changing = True
            case "kept":
                promised = self.kept[int(said["key"], 16)]
                promised.held, promised.is_changing = said["number"], False
                self.acknowledged += 1
            case "identity":
                self.public_key = said["public_key"]
            case "node":
                self.node_id = said["node_id"]
            case "token":
                self.token = said["token"]
            case "unlocked":
                self.keys, self.was_unlocked = [said["key"]], True
            case "opened":
                self.was_opened = True
            case "rekeying":
                self.keys.append(said["key"])
            case "rekeyed":
                self.keys = [said["key"]]
            case "writing":
                self.files.setdefault(said["path"], {""}).add(said["digest"])
            case "wrote":
                self.files[said["path"]] = {said["digest"]}
                self.acknowledged += 1
            case other:
                raise AssertionError(other)

    def _offered(
        self, of: dict[int, Promised], key: str, number: int, digest: str, stays: bool = True
    ) -> Promised:
        promised = of.setdefault(int(key, 16), Promised(stays=stays))
        promised.numbers[digest] = number
        return promised

    def _held(self, key: str, number: int, version: int, expires_at: float) -> None:
        promised = self.records[int(key, 16)]
        self.acknowledged += 1
        if number == promised.held:
            promised.expires_at = max(promised.expires_at, expires_at)
        elif number > promised.held:
            promised.held, promised.version, promised.expires_at = number, version, expires_at
