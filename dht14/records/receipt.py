"""Results of a PUT, and of a GET that finds no record, as clients receive them."""

from enum import IntEnum

from attrs import frozen


class PutOutcome(IntEnum):
    """How a PUT ended. The numbers are those of the API."""

    STORED = 0
    """As many nodes hold the value as the client asked for."""
    STORED_BY_ALL = 1
    """Fewer nodes hold the value, but all that store values and can be reached."""
    SUPERSEDED = 2
    """A later write of the same key won; nothing failed."""
    NOT_STORED = 3
    """As far as the node knows: the reason says more."""


class PutReason(IntEnum):
    """Why a PUT did not store its value. The numbers are those of the API."""

    NONE = 0
    """The value is stored."""
    NOT_READY = 1
    """The node has no identity, no open database, or has not tried all seeds yet, or is stopping. It has not
    begun to store the value."""
    NO_ROOM = 2
    """Holders are full."""
    WRITER_SHARE = 3
    """Holders have no more room for this writer, or for its subnet."""
    CONFLICT = 4
    """The key already holds content, or an envelope of the owner with a newer sequence number."""
    TOO_FEW_HOLDERS = 5
    """Too few of the nodes that should hold the value have confirmed that they do."""
    NOT_AUTHENTIC = 6
    """The value does not match its key or its signature."""
    UNFINISHED = 7
    """The node stopped, or failed, before it knew what became of the value, which may be stored."""


@frozen
class Receipt:
    """The result of one PUT."""

    outcome: PutOutcome
    stored: int = 0
    """Nodes that have it on disk, this one included."""
    wanted: int = 0
    """Nodes that the client asked for."""
    reason: PutReason = PutReason.NONE
    version: int = 0
    """The version of the value; for an owner's record its sequence number; 0 for content."""

    @property
    def acknowledged(self) -> bool:
        """Whether the VoidPhone API answers SUCCESS."""
        return self.outcome is not PutOutcome.NOT_STORED


class NoRecord(IntEnum):
    """Why a GET finds no record. The numbers are those of the API."""

    NOT_FOUND = 0
    NOT_READY = 1
    """As `PutReason.NOT_READY`."""
    UNANSWERED = 2
    """Nodes that should hold the record did not answer."""
    DELETED = 3
    """The owner has deleted it."""
    TOO_MANY_WATCHES = 4
    """The node, or the connection, watches as many keys as it may: this watch has not begun."""
