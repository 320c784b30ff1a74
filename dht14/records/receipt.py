"""What a client is told about a PUT, and about a GET that brings no record. DESIGN 2.3."""

from enum import IntEnum

from attrs import frozen


class PutOutcome(IntEnum):
    """How a PUT ended. The numbers are those of the API."""

    STORED = 0
    """As many nodes hold the value as were asked for."""
    STORED_BY_ALL = 1
    """Fewer, but all nodes that hold values and can be reached."""
    SUPERSEDED = 2
    """A later write of the same key won; nothing failed."""
    NOT_STORED = 3


class PutReason(IntEnum):
    """Why a value is not stored. The numbers are those of the API."""

    NONE = 0
    """It is stored."""
    NOT_READY = 1
    """The node has no identity, no open database, or has not tried all seeds yet."""
    NO_ROOM = 2
    """Holders are full."""
    WRITER_SHARE = 3
    """Holders have no more room for this writer, or for its subnet."""
    CONFLICT = 4
    """Content, or a newer sequence number of the owner, stands under the key."""
    TOO_FEW_HOLDERS = 5
    """Too few of the nodes that should hold the value have answered that they do."""
    NOT_AUTHENTIC = 6
    """The value is not what its key or its signature says."""


@frozen
class Receipt:
    """What became of one PUT."""

    outcome: PutOutcome
    stored: int = 0
    """Nodes that have it on disk, this one included."""
    wanted: int = 0
    """Nodes that the client asked for."""
    reason: PutReason = PutReason.NONE
    version: int = 0
    """The version that the value was given; an owner's sequence number; 0 for content."""

    @property
    def acknowledged(self) -> bool:
        """Whether the VoidPhone API answers SUCCESS."""
        return self.outcome is not PutOutcome.NOT_STORED


class NoRecord(IntEnum):
    """Why a GET brings no record. The numbers are those of the API."""

    NOT_FOUND = 0
    NOT_READY = 1
    """As `PutReason.NOT_READY`."""
    UNANSWERED = 2
    """Nodes that should know did not answer."""
    DELETED = 3
    """The owner has deleted it."""
