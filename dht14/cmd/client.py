"""`dht14 put` and `dht14 get`."""

import argparse
import hashlib
import os
import re
import time

from dht14.cmd.node_api import (
    DONE,
    NOT_DONE,
    WRONG_USAGE,
    Ended,
    add_common_arguments,
    ask,
    base64_text,
    concluded,
    number,
    print_bytes,
    print_json,
    typed_bytes,
)
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_from_bytes, id_to_bytes
from dht14.storage.envelope import MAGIC, MAX_SEQ, Envelope
from dht14.wire.api_messages import MAX_VALUE, Success, encode_get, encode_put

# Whatever signs or verifies is imported where it is needed: it takes as long as all the rest.

PUT_USAGE = """dht14 put KEY (VALUE | --file F) [options]
       dht14 put --content (VALUE | --file F) [options]
       dht14 put --sign KEYFILE [--salt S] [--seq N] [--cas N] (VALUE | --file F) [options]"""

_KEY_HELP = "64 hex digits, or any text: then its SHA-256 is the key"


def add_put_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 put`."""
    parser.usage = PUT_USAGE
    # Neither is required as far as argparse knows: with nargs="?" it would not see a VALUE that stands
    # behind an option.
    key = parser.add_argument("key", metavar="KEY", help=f"{_KEY_HELP}; none with --content and --sign")
    value = parser.add_argument("value", metavar="VALUE", help="the value, as text (or give --file)")
    key.required = value.required = False
    parser.add_argument("--file", metavar="F", help="take the value from this file instead")
    own = parser.add_mutually_exclusive_group()
    own.add_argument(
        "--content", action="store_true", help="under the SHA-256 of the value, which is printed"
    )
    own.add_argument(
        "--sign", metavar="KEYFILE", help="as the owner of this private key; the key that follows is printed"
    )
    add_owner_arguments(parser)
    parser.add_argument(
        "--ttl",
        type=number(0xFFFF),
        default=0,
        help="seconds to keep it (default: what the node's default is)",
    )
    add_replication_argument(parser)
    add_common_arguments(parser)


def add_replication_argument(parser: argparse.ArgumentParser) -> None:
    """That of the commands that write."""
    parser.add_argument(
        "--replication",
        type=number(0xFF),
        default=0,
        help="on how many nodes (default: what the node's default is)",
    )


def add_owner_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the commands that sign."""
    parser.add_argument(
        "--salt", metavar="S", help="text of up to 64 bytes that tells apart the keys of one owner"
    )
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
    parser.add_argument("key", metavar="KEY", help=_KEY_HELP)
    parser.add_argument(
        "--output", metavar="F", help="write the value to this file instead of the standard output"
    )
    parser.add_argument("--raw", action="store_true", help="an owner's value as it is stored, not decoded")
    add_common_arguments(parser)


def run_put(args: argparse.Namespace) -> int:
    """Store a value; the exit code."""
    return concluded(lambda: _put(args))


def run_get(args: argparse.Namespace) -> int:
    """Fetch a value; the exit code."""
    return concluded(lambda: _get(args))


def _put(args: argparse.Namespace) -> int:
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
    stored = store(args, key, value, args.ttl)
    seconds = time.monotonic() - began
    if args.json:
        print_json(_answer(key, payload, seconds, envelope, stored=stored))
    elif not stored:
        raise refused(envelope)
    elif typed_key is None:
        print_bytes(key.hex().encode() + b"\n")
    return DONE if stored else NOT_DONE


def store(args: argparse.Namespace, key: bytes, value: bytes, ttl: int) -> bool:
    """Whether the node keeps the value."""
    request = encode_put(ttl, args.replication, key, value)
    return isinstance(ask(args.api_address, key, request), Success)


def fetch(args: argparse.Namespace, key: bytes) -> bytes | None:
    """What the node finds."""
    reply = ask(args.api_address, key, encode_get(key))
    return reply.value if isinstance(reply, Success) else None


def refused(envelope: Envelope | None) -> Ended:
    """The end of a command whose value the node did not take."""
    greater = "; there may be a version with a greater number than --seq or --cas say"
    why = "" if envelope is None else greater
    return Ended(NOT_DONE, f"the node could not store it{why}")


def _get(args: argparse.Namespace) -> int:
    key = key_of(args.key)
    began = time.monotonic()
    value = fetch(args, key)
    seconds = time.monotonic() - began
    envelope = None
    if value is not None and value.startswith(MAGIC) and not args.raw:
        envelope = opened(key, value)
        value = None if envelope.deleted else envelope.payload
    if value is not None and args.output is not None:
        _write_file(args.output, value)
    if args.json:
        print_json(_answer(key, value, seconds, envelope, found=value is not None))
    elif value is None:
        raise Ended(NOT_DONE, "not found")
    elif args.output is None:
        print_bytes(value)
    return NOT_DONE if value is None else DONE


def opened(key: bytes, value: bytes) -> Envelope:
    """The envelope that a node found under a key. Raises `Ended` unless the key's owner has signed it."""
    from dht14.storage.owner import verify

    try:
        envelope = verify(value)
    except Malformed as flaw:
        raise Ended(NOT_DONE, f"the node answered with {flaw}; --raw shows it") from None
    if envelope.key != id_from_bytes(key):
        raise Ended(NOT_DONE, "the node answered with an envelope of another key; --raw shows it")
    return envelope


def key_of(text: str) -> bytes:
    """The key that a KEY stands for."""
    if re.fullmatch("[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    return hashlib.sha256(typed_bytes(text)).digest()


def _key_and_value(args: argparse.Namespace) -> tuple[str | None, bytes]:
    """The KEY that was typed, if one may be, and the value."""
    if args.sign is None and (args.salt, args.seq, args.cas) != (None, None, None):
        raise Ended(WRONG_USAGE, "--salt, --seq and --cas go with --sign")
    if not args.content and args.sign is None:
        if args.key is None:
            raise Ended(WRONG_USAGE, "give a KEY, or --content, or --sign KEYFILE")
        return args.key, _value(args.value, args.file)
    if args.value is not None:
        raise Ended(WRONG_USAGE, "no KEY goes with --content and --sign: it follows from what is put")
    return None, _value(args.key, args.file)


def _value(typed: str | None, file: str | None) -> bytes:
    if (typed is None) == (file is None):
        raise Ended(WRONG_USAGE, "give either VALUE or --file F")
    value = typed_bytes(typed) if typed is not None else read_file(str(file))
    if not value:
        raise Ended(WRONG_USAGE, "the value is empty; it must have 1 byte or more")
    if len(value) > MAX_VALUE:
        raise Ended(WRONG_USAGE, f"the value is too long; it may have {MAX_VALUE} bytes")
    return value


def read_file(path: str) -> bytes:
    """What is in a file, as much as a value may have and one byte. Raises `Ended`."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_VALUE + 1)
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot read {path}: {error.strerror}") from None


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
        raise Ended(WRONG_USAGE, f"cannot write {path}: {error.strerror}") from None


def _answer(
    key: bytes, value: bytes | None, seconds: float, envelope: Envelope | None, **verdict: bool
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
