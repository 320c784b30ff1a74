"""`dht14 put` and `dht14 get`."""

import argparse
import hashlib
import os
import time

from dht14.cmd import api_client
from dht14.cmd.addresses import add_node_arguments, api_address
from dht14.cmd.api_client import Found
from dht14.cmd.ending import (
    DONE,
    NOT_DONE,
    WRONG_USAGE,
    Ended,
    base64_text,
    print_bytes,
    print_json,
    print_value,
    say,
)
from dht14.cmd.keys import KEY_HELP, SALT_HELP, add_owner_argument, key_of, owners_key
from dht14.cmd.parser import number
from dht14.cmd.receipts import found_answer, not_found, receipt_answer, refused, told
from dht14.cmd.values import add_file_argument, given_value
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.records.envelope import MAX_SEQ, Envelope, is_envelope
from dht14.records.receipt import NoRecord, Receipt

# Whatever signs or verifies is imported where it is needed: it takes as long as all the rest.

PUT_USAGE = """dht14 put KEY (VALUE | --file F) [options]
       dht14 put --content (VALUE | --file F) [options]
       dht14 put --sign KEYFILE [--salt S] [--seq N] [--cas N] (VALUE | --file F) [options]"""

GET_USAGE = """dht14 get KEY [options]
       dht14 get --owner OWNER [--salt S] [options]"""


def add_put_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 put`."""
    parser.usage = PUT_USAGE
    # Neither is required as far as argparse knows: with nargs="?" it would not see a VALUE that stands
    # behind an option.
    key = parser.add_argument("key", metavar="KEY", help=f"{KEY_HELP}; none with --content and --sign")
    value = parser.add_argument("value", metavar="VALUE", help="the value, as text (or give --file)")
    key.required = value.required = False
    add_file_argument(parser)
    own = parser.add_mutually_exclusive_group()
    own.add_argument(
        "--content", action="store_true", help="under the SHA-256 of the value, which is printed"
    )
    own.add_argument(
        "--sign", metavar="KEYFILE", help="as the owner of this private key; the key that follows is printed"
    )
    add_version_arguments(parser)
    parser.add_argument(
        "--ttl",
        type=number(0xFFFF),
        default=0,
        help="seconds to keep it (default: what the node's default is)",
    )
    add_replication_argument(parser)
    add_node_arguments(parser)


def add_replication_argument(parser: argparse.ArgumentParser) -> None:
    """That of the commands that write."""
    parser.add_argument(
        "--replication",
        type=number(0xFF),
        default=0,
        help="on how many nodes (default: what the node's default is)",
    )


def add_version_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the commands that sign."""
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    parser.add_argument(
        "--seq",
        metavar="N",
        type=number(MAX_SEQ, least=1),
        help="the number of this version; the greatest wins (default: one more than the present one's)",
    )
    parser.add_argument(
        "--cas",
        metavar="N",
        type=number(MAX_SEQ - 1),
        help="only where no version above this one is held (default without --seq: the present one)",
    )


def add_get_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 get`."""
    parser.usage = GET_USAGE
    key = parser.add_argument("key", metavar="KEY", help=f"{KEY_HELP}; none with --owner")
    key.required = False
    add_owner_argument(parser)
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    parser.add_argument(
        "--output", metavar="F", help="write the value to this file instead of the standard output"
    )
    parser.add_argument(
        "--content",
        action="store_true",
        help="take nothing but the value whose SHA-256 is KEY, whatever others have put under it",
    )
    parser.add_argument("--raw", action="store_true", help="an owner's value as it is stored, not decoded")
    add_node_arguments(parser)


def run_put(args: argparse.Namespace) -> int:
    """Store a value; the exit code."""
    typed_key, payload = _key_and_value(args)
    began = time.monotonic()
    envelope = None
    if args.sign is not None:
        from dht14.cmd.owner import sign

        envelope = sign(args, payload)
        key, value = id_to_bytes(envelope.key), envelope.encode()
    else:
        value = payload
        key = hashlib.sha256(value).digest() if typed_key is None else key_of(typed_key)
    receipt = api_client.put(api_address(args), key, value, args.ttl, args.replication)
    if args.json:
        answer = _answer(key, payload, time.monotonic() - began, receipt_answer(receipt), envelope)
        print_json(answer)
    elif not is_stored(receipt):
        raise refused(receipt, version_hint(receipt, envelope))
    else:
        say(told(receipt))
        if typed_key is None:
            print_bytes(key.hex().encode() + b"\n")
    return DONE if is_stored(receipt) else NOT_DONE


def is_stored(receipt: Receipt | bool) -> bool:
    """Whether the node keeps it."""
    return receipt.acknowledged if isinstance(receipt, Receipt) else receipt


def version_hint(receipt: Receipt | bool, envelope: Envelope | None) -> str:
    """What may be wrong with an owner's value, where the node does not say that it is something else."""
    may_be = not isinstance(receipt, Receipt) or receipt.reason.name == "CONFLICT"
    if envelope is None or not may_be:
        return ""
    return "; there may be a version with a greater number than --seq or --cas say"


def run_get(args: argparse.Namespace) -> int:
    """Fetch a value; the exit code."""
    key = _key_to_get(args)
    began = time.monotonic()
    found = api_client.get(api_address(args), key, content=args.content)
    seconds = time.monotonic() - began
    missing = found if isinstance(found, NoRecord) else None
    value = found.value if isinstance(found, Found) else None
    envelope = None
    if value is not None and is_envelope(value) and not args.raw:
        envelope = opened(key, value)
        if envelope.deleted:
            value, missing = None, NoRecord.DELETED
        else:
            value = envelope.payload
    if value is not None and args.output is not None:
        _write_file(args.output, value)
    if args.json:
        verdict: dict[str, object] = {"found": value is not None}
        if missing is not None:
            verdict["error"] = missing.name.lower()
        elif isinstance(found, Found):
            verdict |= found_answer(found)
        print_json(_answer(key, value, seconds, verdict, envelope))
    elif value is None:
        raise not_found(missing or NoRecord.NOT_FOUND)
    elif args.output is None:
        print_value(value)
    return NOT_DONE if value is None else DONE


def _key_to_get(args: argparse.Namespace) -> bytes:
    if args.content and args.owner is not None:
        raise Ended(WRONG_USAGE, "--content and --owner do not go together: what an owner has put can change")
    if args.owner is not None and args.key is None:
        return owners_key(args.owner, args.salt)
    if args.key is None or args.owner is not None:
        raise Ended(WRONG_USAGE, "give either a KEY or --owner OWNER")
    if args.salt is not None:
        raise Ended(WRONG_USAGE, "--salt goes with --owner")
    return key_of(args.key)


def opened(key: bytes, value: bytes) -> Envelope:
    """The envelope that a node found under a key. Raises `Ended` unless the key's owner has signed it."""
    from dht14.records.signing import verify_envelope

    try:
        envelope = verify_envelope(value)
    except Malformed as flaw:
        raise Ended(NOT_DONE, f"the node answered with {flaw}; --raw shows it", "forged") from None
    if envelope.key != id_from_bytes(key):
        raise Ended(NOT_DONE, "the node answered with an envelope of another key; --raw shows it", "forged")
    return envelope


def _key_and_value(args: argparse.Namespace) -> tuple[str | None, bytes]:
    """The KEY that was typed, if one may be, and the value."""
    if args.sign is None and (args.salt, args.seq, args.cas) != (None, None, None):
        raise Ended(WRONG_USAGE, "--salt, --seq and --cas go with --sign")
    if not args.content and args.sign is None:
        if args.key is None:
            raise Ended(WRONG_USAGE, "give a KEY, or --content, or --sign KEYFILE")
        key_of(args.key)  # A wrong one is told before a file is read.
        return args.key, given_value(args.value, args.file)
    if args.value is not None:
        raise Ended(WRONG_USAGE, "no KEY goes with --content and --sign: it follows from what is put")
    return None, given_value(args.key, args.file)


def _write_file(path: str, value: bytes) -> None:
    """Write all of it or nothing; what is no regular file (a device, a pipe) is written to directly."""
    path = os.path.realpath(path)
    replaces = os.path.isfile(path) or not os.path.exists(path)
    target = f"{path}.{os.getpid()}.part" if replaces else path
    try:
        try:
            with open(target, "xb" if replaces else "wb") as file:
                file.write(value)
            if replaces:
                os.replace(target, path)
        except BaseException:
            if replaces and os.path.exists(target):
                os.unlink(target)
            raise
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot write {path}: {error.strerror}", "output") from None


def _answer(
    key: bytes, value: bytes | None, seconds: float, verdict: dict[str, object], envelope: Envelope | None
) -> dict[str, object]:
    answer: dict[str, object] = {
        "key": key.hex(),
        **verdict,
        "value": None if value is None else base64_text(value),
        "bytes": 0 if value is None else len(value),
        "seconds": round(seconds, 6),
    }
    return answer if envelope is None else answer | owner_answer(envelope)


def owner_answer(envelope: Envelope) -> dict[str, object]:
    """What JSON tells of an owner's record."""
    return {
        "owner": envelope.public_key.hex(),
        "seq": envelope.seq,
        "salt": base64_text(envelope.salt),
        "deleted": envelope.deleted,
    }
