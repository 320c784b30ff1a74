"""`dht14 put` and `dht14 get`."""

import argparse
import errno
import os
import time
from typing import BinaryIO

from dht14.client.address import format_address
from dht14.client.keys import content_key
from dht14.cmd import api_client
from dht14.cmd.api_client import Found
from dht14.cmd.command_error import DONE, NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.keys import KEY_HELP, SALT_HELP, add_owner_argument, parse_key, parse_salt, typed_key
from dht14.cmd.node_arguments import (
    add_node_arguments,
    add_replication_argument,
    add_surface_arguments,
    api_address,
)
from dht14.cmd.output import base64_text, print_bytes, print_json, print_status, print_value
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import notice_if_slow
from dht14.cmd.results import (
    is_stored,
    not_found_error,
    not_stored_error,
    owner_fields,
    receipt_fields,
    record_fields,
    stored_line,
    version_hint,
)
from dht14.cmd.signing import add_version_arguments, signed_envelope, verified_envelope
from dht14.cmd.value_input import add_file_argument, open_file, read_or_open, read_value
from dht14.files.address import SCHEME, is_link, looks_like_manifest
from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import Envelope, is_envelope, overhead
from dht14.records.receipt import NoRecord

PUT_USAGE = """dht14 put KEY (VALUE | --file F) [options]
       dht14 put --file F [options]
       dht14 put --content (VALUE | --file F) [options]
       dht14 put --sign KEYFILE [--salt S] [--seq N] [--cas N] (VALUE | --file F) [options]"""

GET_USAGE = """dht14 get KEY [options]
       dht14 get dht14:HEX [--output F] [options]
       dht14 get --owner OWNER [--salt S] [options]"""


def add_put_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 put`."""
    parser.usage = PUT_USAGE
    # argparse must not require them. With nargs="?" instead it would overlook a VALUE that follows an option.
    key = parser.add_argument("key", metavar="KEY", help=f"{KEY_HELP}; not given with --content or --sign")
    value = parser.add_argument("value", metavar="VALUE", help="the value, as text (or give --file)")
    key.required = value.required = False
    add_file_argument(parser)
    own = parser.add_mutually_exclusive_group()
    own.add_argument(
        "--content", action="store_true", help="store under the SHA-256 of the value, and print that key"
    )
    own.add_argument(
        "--sign",
        metavar="KEYFILE",
        help="sign with this private key, store under the owner's key, and print that key",
    )
    add_version_arguments(parser)
    parser.add_argument(
        "--ttl",
        metavar="S",
        type=whole_number(0xFFFF),
        default=0,
        help="seconds to keep the value (default: the node's default)",
    )
    add_replication_argument(parser)
    parser.add_argument(
        "--keep", action="store_true", help="let the node renew the value until dht14 unkeep KEY"
    )
    add_surface_arguments(parser.add_argument_group("where the node of --keep is"))
    add_node_arguments(parser)


def add_get_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 get`."""
    parser.usage = GET_USAGE
    key = parser.add_argument("key", metavar="KEY", help=f"{KEY_HELP}; not given with --owner")
    key.required = False
    add_owner_argument(parser)
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    parser.add_argument("--output", metavar="F", help="write to this file instead of the standard output (-)")
    parser.add_argument(
        "--max-bytes",
        metavar="N",
        type=whole_number((1 << 63) - 1),
        help="fetch no file of more bytes (default: none that does not fit the disk; to a pipe 1 TiB)",
    )
    parser.add_argument(
        "--content",
        action="store_true",
        help="accept only the value whose SHA-256 is KEY, whatever others have put under it",
    )
    parser.add_argument(
        "--raw", action="store_true", help="write an owner's value as it is stored: the signed envelope"
    )
    add_node_arguments(parser)


def run_put(args: argparse.Namespace) -> int:
    """Store a value and return the exit code."""
    _check_keep(args)
    typed_key, payload = _key_and_value(args)
    keeping = None
    if args.keep:
        from dht14.cmd import kept as kept_values  # It takes long to load, and few puts need it.

        keeping = kept_values.keeping_node(args)
    if not isinstance(payload, bytes):
        from dht14.cmd import file_commands

        return file_commands.run_put(args, payload, keeping)
    began = time.monotonic()
    envelope = None
    if args.sign is not None:
        envelope = signed_envelope(args, payload)
        key, value = id_to_bytes(envelope.key), envelope.encode()
    else:
        value = payload
        key = content_key(value) if typed_key is None else parse_key(typed_key)
    address = api_address(args)
    with notice_if_slow(f"waiting for the node at {format_address(*address)}"):
        receipt = api_client.put(address, key, value, args.ttl, args.replication)
    kept = ""
    if keeping is not None and is_stored(receipt):
        kept = "; " + kept_values.kept_line(kept_values.keep_put(keeping, key, value, receipt, args))
    if args.json:
        fields = receipt_fields(receipt) | ({"kept": True} if kept else {})
        answer = _answer(key, payload, time.monotonic() - began, fields, envelope)
        print_json(answer)
    elif not is_stored(receipt):
        raise not_stored_error(receipt, version_hint(receipt, envelope))
    else:
        print_status(stored_line(receipt) + kept)
        if typed_key is None:
            print_bytes(key.hex().encode() + b"\n")
    return DONE if is_stored(receipt) else NOT_DONE


def _check_keep(args: argparse.Namespace) -> None:
    """Refuse options of `--keep` that stand alone: they look as if they said which node stores the value."""
    places = (args.data_dir, args.admin_address, args.token_file)
    if places != (None, None, None) and not args.keep and args.api_address is None:
        raise CommandError(
            WRONG_USAGE,
            "--data-dir, --admin-address and --token-file say which node keeps the value, with --keep; say "
            "with --api-address which node stores it",
        )


def run_get(args: argparse.Namespace) -> int:
    """Fetch a value and return the exit code."""
    key = _key_to_get(args)
    path = None if args.output == "-" else args.output
    if path is not None:
        _check_output(path)
    is_plain = args.raw or args.content
    if args.key is not None and args.key.startswith(SCHEME) and not is_plain:
        return _get_file(args, key)
    began = time.monotonic()
    address = api_address(args)
    with notice_if_slow(f"waiting for the node at {format_address(*address)}"):
        found = api_client.get(address, key, content=args.content)
    seconds = time.monotonic() - began
    envelope = None
    if isinstance(found, Found) and is_envelope(found.value) and not args.raw:
        envelope = verified_envelope(key, found.value)
        if is_link(envelope.payload):
            return _get_file(args, key)
    value = _value_of(found, envelope)
    if path is not None and isinstance(value, bytes):
        _write_file(path, value)
    if args.json:
        payload = None if isinstance(value, NoRecord) else value
        print_json(_answer(key, payload, seconds, _verdict(found, value), envelope))
    elif isinstance(value, NoRecord):
        raise not_found_error(value)
    else:
        if path is None:
            print_value(value)
        if looks_like_manifest(value) and not is_plain:
            print_status(
                f"this is the list of a file's pieces; dht14 get {SCHEME}{key.hex()} fetches the file"
            )
    return NOT_DONE if isinstance(value, NoRecord) else DONE


def _value_of(found: Found | NoRecord, envelope: Envelope | None) -> bytes | NoRecord:
    """Return what was put: of an owner's record, the payload of its `envelope`; or why there is nothing."""
    if isinstance(found, NoRecord):
        return found
    if envelope is None:
        return found.value
    return NoRecord.DELETED if envelope.deleted else envelope.payload


def _verdict(found: Found | NoRecord, value: bytes | NoRecord) -> dict[str, object]:
    """Return the JSON fields that say whether a value was found."""
    if isinstance(value, NoRecord):
        return {"found": False, "error": value.name.lower()}
    return {"found": True} | record_fields(found)


def _get_file(args: argparse.Namespace, key: bytes) -> int:
    from dht14.cmd import file_commands

    return file_commands.run_get(args, key)


def _key_to_get(args: argparse.Namespace) -> bytes:
    if args.content and args.owner is not None:
        raise CommandError(
            WRONG_USAGE, "--content and --owner exclude each other: an owner's value can change"
        )
    return typed_key(args)


def _key_and_value(args: argparse.Namespace) -> tuple[str | None, bytes | BinaryIO]:
    """Return the KEY that was typed, if one is needed, and the value; or the file to store."""
    if args.sign is None and (args.salt, args.seq, args.cas) != (None, None, None):
        raise CommandError(WRONG_USAGE, "--salt, --seq and --cas need --sign")
    if not args.content and args.sign is None:
        if args.key is None and args.file is not None:
            return None, open_file(args.file)
        if args.key is None:
            raise CommandError(WRONG_USAGE, "give a KEY, or --file F, or --content, or --sign KEYFILE")
        parse_key(args.key)  # Report a wrong key before reading a file.
        return args.key, read_value(args.value, args.file)
    if args.value is not None:
        raise CommandError(
            WRONG_USAGE, "give no KEY with --content or --sign: the key follows from what is put"
        )
    taken = 0 if args.sign is None else overhead(parse_salt(args.salt))
    return None, read_or_open(args.key, args.file, MAX_VALUE - taken)


def _check_output(path: str) -> None:
    """Refuse a file that cannot be written before the value is fetched."""
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.stat(path and os.path.dirname(os.path.realpath(path)))
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: str, error: OSError) -> CommandError:
    cure = "name a file that this user can write, on a disk with room"
    return CommandError.of_file("--output", "write", path, error, cure, "output")


def _write_file(typed: str, value: bytes) -> None:
    """Write a file completely or not at all. Write directly to a device or a pipe."""
    path = os.path.realpath(typed)
    replaces = os.path.isfile(path) or not os.path.exists(path)
    target = f"{path}.{os.getpid()}.part" if replaces else path
    try:
        try:
            with open(target, "xb" if replaces else "wb") as file:
                file.write(value)
                if replaces:
                    # Before the rename: a power cut must not leave an empty file where an older one was.
                    file.flush()
                    os.fsync(file.fileno())
            if replaces:
                os.replace(target, path)
        except BaseException:
            if replaces and os.path.exists(target):
                os.unlink(target)
            raise
    except OSError as error:
        raise _unwritable(typed, error) from None


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
    return answer if envelope is None else answer | owner_fields(envelope)
