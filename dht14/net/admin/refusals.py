"""How the admin surface answers a PUT or a GET that failed."""

from dht14.records.receipt import NoRecord, PutReason

REFUSED = {
    PutReason.NOT_READY: (503, "the node is not ready", "See /readyz."),
    PutReason.NO_ROOM: (
        507,
        "the holders of this key are full, or cannot write",
        "See docs/operations.md, section 2.",
    ),
    PutReason.WRITER_SHARE: (507, "the share of this writer is used up", "See [storage] writer_share."),
    PutReason.CONFLICT: (409, "another record stands under this key", "GET it first."),
    PutReason.TOO_FEW_HOLDERS: (504, "too few holders answered", "Try again; see /v1/locate/KEY."),
    PutReason.UNFINISHED: (504, "the node ended before it knew", "It may be stored: GET it."),
    PutReason.NOT_AUTHENTIC: (422, "the value is not what its key or its signature says", ""),
}
"""Status, error and hint for a value that is not stored."""
MISSING = {
    NoRecord.NOT_FOUND: (404, "not found", ""),
    NoRecord.NOT_READY: (503, "the node is not ready", "See /readyz."),
    NoRecord.UNANSWERED: (504, "the nodes that should know did not answer", "Try again."),
    NoRecord.DELETED: (410, "deleted by its owner", ""),
    NoRecord.TOO_MANY_WATCHES: (429, "too many keys are watched", "End other watches."),
}
"""The same for one that is not found."""
