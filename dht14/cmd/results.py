"""The result of a PUT or a GET, as a line for people and as JSON."""

from dht14.client.answers import KINDS
from dht14.client.errors import REASONS
from dht14.cmd.api_client import Found
from dht14.cmd.command_error import NOT_DONE, CommandError
from dht14.cmd.output import base64_text
from dht14.cmd.progress import counted
from dht14.records.envelope import Envelope
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import FoundRecord

_MISSING = {
    NoRecord.UNANSWERED: "nodes that should know did not answer; try again",
    NoRecord.DELETED: "its owner has deleted it",
}


def is_stored(receipt: Receipt | bool) -> bool:
    """Whether the value is stored. Nodes of other VoidPhones give no receipt, only yes or no."""
    return receipt.acknowledged if isinstance(receipt, Receipt) else receipt


def stored_line(receipt: Receipt | bool) -> str:
    """Describe in one line how a value was stored."""
    if not isinstance(receipt, Receipt):
        return "stored"
    if receipt.outcome is PutOutcome.SUPERSEDED:
        return "superseded: a later write of this key has won"
    if receipt.outcome is PutOutcome.STORED:
        if receipt.stored > receipt.wanted:
            # A stand-in and the slow node for which it stood in both have it.
            return f"stored on {counted(receipt.stored, 'node')}; wanted: {receipt.wanted}"
        return f"stored on {receipt.stored} of {counted(receipt.wanted, 'node')}"
    if receipt.stored == 1:
        return "stored on this node only: no other node can be reached"
    count = f"{receipt.stored} of {receipt.wanted}"
    return f"stored on {count} nodes: no other node that holds values can be reached"


def not_stored_error(receipt: Receipt | bool, hint: str) -> CommandError:
    """Make the error of a command whose value is not stored."""
    if not isinstance(receipt, Receipt):
        return CommandError(NOT_DONE, f"the node could not store it{hint}")
    reason = REASONS.get(receipt.reason, "the node gives no reason")
    if receipt.reason is PutReason.UNFINISHED:
        return CommandError(NOT_DONE, f"not known to be stored: {reason}", "unfinished")
    count = f" (stored on {receipt.stored} of {counted(receipt.wanted, 'node')})" if receipt.stored else ""
    return CommandError(NOT_DONE, f"not stored: {reason}{count}{hint}", receipt.reason.name.lower())


def version_hint(receipt: Receipt | bool, envelope: Envelope | None) -> str:
    """Name the likely cause when an owner's value is not stored and the node gives no other."""
    may_be = not isinstance(receipt, Receipt) or receipt.reason is PutReason.CONFLICT
    if envelope is None or not may_be:
        return ""
    return "; there may be a version with a greater number than --seq or --cas"


def receipt_fields(receipt: Receipt | bool) -> dict[str, object]:
    """Return the JSON fields of a receipt, `stored` first."""
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


def not_found_error(reason: NoRecord) -> CommandError:
    """Make the error of a command that found nothing."""
    why = _MISSING.get(reason)
    return CommandError(NOT_DONE, f"not found: {why}" if why else "not found", reason.name.lower())


def record_fields(found: Found | NoRecord) -> dict[str, object]:
    """Return the JSON fields of a record that was found; none from a node of another VoidPhone."""
    if not isinstance(found, FoundRecord):
        return {}
    return {"kind": KINDS[found.kind], "version": found.version, "expires_in": found.ttl}


def owner_fields(envelope: Envelope) -> dict[str, object]:
    """Return the JSON fields of an owner's record."""
    return {
        "owner": envelope.public_key.hex(),
        "seq": envelope.seq,
        "salt": base64_text(envelope.salt),
        "deleted": envelope.deleted,
    }
