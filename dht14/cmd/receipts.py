"""What a node told of a PUT or a GET, as lines for people and as JSON."""

from dht14.cmd.api_client import Found
from dht14.cmd.ending import NOT_DONE, Ended
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt

_REASONS = {
    PutReason.NO_ROOM: "the nodes that should hold it have no room",
    PutReason.WRITER_SHARE: "the nodes that should hold it have no more room for this writer",
    PutReason.CONFLICT: "another value stands there, which it may not replace",
    PutReason.TOO_FEW_HOLDERS: "too few nodes have answered that they hold it",
    PutReason.NOT_AUTHENTIC: "it is not what its key or its signature says",
}

_MISSING = {
    NoRecord.UNANSWERED: "nodes that should know did not answer; try again",
    NoRecord.DELETED: "its owner has deleted it",
}

_KINDS = {1: "open", 2: "owner", 3: "content"}


def told(receipt: Receipt | bool) -> str:
    """A line about what was stored."""
    if not isinstance(receipt, Receipt):
        return "stored"
    if receipt.outcome is PutOutcome.SUPERSEDED:
        return "superseded: a later write of this key has won"
    if receipt.outcome is PutOutcome.STORED:
        return f"stored on {receipt.stored} of {receipt.wanted} nodes"
    if receipt.stored == 1:
        return "stored on this node only: no other node can be reached"
    return f"stored on {receipt.stored} of {receipt.wanted} nodes: no other node that holds values can be reached"


def refused(receipt: Receipt | bool, hint: str = "") -> Ended:
    """The end of a command whose value is not stored."""
    if not isinstance(receipt, Receipt):
        return Ended(NOT_DONE, f"the node could not store it{hint}")
    reason = _REASONS.get(receipt.reason, "the node does not say why")
    count = f" (stored on {receipt.stored} of {receipt.wanted} nodes)" if receipt.stored else ""
    return Ended(NOT_DONE, f"not stored: {reason}{count}{hint}", receipt.reason.name.lower())


def receipt_answer(receipt: Receipt | bool) -> dict[str, object]:
    """What JSON tells of a receipt, `stored` first: whether it is."""
    if not isinstance(receipt, Receipt):
        return {"stored": receipt} | ({} if receipt else {"error": "refused"})
    answer: dict[str, object] = {
        "stored": receipt.acknowledged,
        "outcome": receipt.outcome.name.lower(),
        "copies": receipt.stored,
        "wanted": receipt.wanted,
        "version": receipt.version,
    }
    return answer if receipt.acknowledged else answer | {"error": receipt.reason.name.lower()}


def not_found(reason: NoRecord) -> Ended:
    """The end of a command that found nothing."""
    why = _MISSING.get(reason)
    return Ended(NOT_DONE, f"not found: {why}" if why else "not found", reason.name.lower())


def found_answer(found: Found) -> dict[str, object]:
    """What JSON tells of a record that was found; nothing from a node of another kind."""
    if found.kind is None:
        return {}
    return {"kind": _KINDS[found.kind], "version": found.version, "expires_in": found.ttl}
