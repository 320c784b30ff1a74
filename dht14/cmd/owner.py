"""`dht14 keygen` and `dht14 delete`, and how `dht14 put --sign` signs."""

import argparse
import os
import time
from contextlib import suppress

from dht14.cmd import api_client
from dht14.cmd.addresses import add_node_arguments, api_address
from dht14.cmd.api_client import Found
from dht14.cmd.ending import DONE, NOT_DONE, WRONG_USAGE, Ended, print_bytes, print_json, say
from dht14.cmd.keys import salt_of
from dht14.cmd.parser import add_json_argument
from dht14.cmd.put_get import (
    add_replication_argument,
    add_version_arguments,
    is_stored,
    opened,
    owner_answer,
    version_hint,
)
from dht14.cmd.receipts import receipt_answer, refused, told
from dht14.cmd.values import read_file, too_large
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.envelope import MAX_SEQ, Envelope, is_envelope, key_of_owner, overhead
from dht14.wire.api_messages import MAX_VALUE


def add_keygen_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 keygen`."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="owner.pem", help="a new file (default: owner.pem)"
    )
    add_json_argument(parser)


def add_delete_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 delete`."""
    parser.add_argument("--sign", metavar="KEYFILE", required=True, help="the owner's private key")
    parser.add_argument(
        "--renew",
        action="store_true",
        help="keep deleted what was deleted before: a deletion lapses after max_ttl (a day), and who has kept the "
        "value could put it back",
    )
    add_version_arguments(parser)
    add_replication_argument(parser)
    add_node_arguments(parser)


def run_keygen(args: argparse.Namespace) -> int:
    """Make a key file; the exit code."""
    from dht14.records.signing import load_key, new_key, public_key_of

    pem = new_key()
    _write_new(args.file, pem)
    public_key = public_key_of(load_key(pem))
    key = id_to_bytes(key_of_owner(public_key, b"")).hex()
    if args.json:
        print_json({"file": args.file, "owner": public_key.hex(), "key": key})
    else:
        # The key is the one that a put without a salt goes to.
        print_bytes(f"owner {public_key.hex()}\nkey   {key}\n".encode())
    return DONE


def _write_new(path: str, pem: bytes) -> None:
    """A file that nobody else can read; one that is there already stays as it is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot make {path}: {error.strerror}", "output") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            os.unlink(path)
        raise Ended(WRONG_USAGE, f"cannot write {path}: {error.strerror}", "output") from None


def run_delete(args: argparse.Namespace) -> int:
    """Delete what an owner has put; the exit code."""
    began = time.monotonic()
    envelope = sign(args, b"", must_be_there=not args.renew)
    key, value = id_to_bytes(envelope.key), envelope.encode()
    # The node keeps a tombstone as long as it keeps anything.
    receipt = api_client.put(api_address(args), key, value, 0, args.replication)
    deleted = is_stored(receipt)
    if args.json:
        answer = receipt_answer(receipt)
        del answer["stored"]
        seconds = round(time.monotonic() - began, 6)
        print_json(
            {"key": key.hex()} | answer | owner_answer(envelope) | {"deleted": deleted, "seconds": seconds}
        )
    elif not deleted:
        raise refused(receipt, version_hint(receipt, envelope))
    else:
        say(f"the deletion is {told(receipt)}")
        print_bytes(key.hex().encode() + b"\n")
    return DONE if deleted else NOT_DONE


def sign(args: argparse.Namespace, payload: bytes, must_be_there: bool = False) -> Envelope:
    """The envelope for a payload, or for none, with the numbers that were given or that follow from what
    the node finds. Raises `Ended`, also where it finds nothing that must be there."""
    from dht14.records.signing import load_key, public_key_of, sign_envelope

    try:
        private_key = load_key(read_file(args.sign))
    except Malformed as flaw:
        raise Ended(WRONG_USAGE, f"cannot sign with {args.sign}: {flaw}", "bad_key_file") from None
    salt = salt_of(args.salt)
    if len(payload) + overhead(salt) > MAX_VALUE:
        raise too_large(len(payload), MAX_VALUE - overhead(salt))
    key = id_to_bytes(key_of_owner(public_key_of(private_key), salt))
    seq, cas = _numbers(args, key, must_be_there)
    return sign_envelope(private_key, seq, payload, salt=salt, cas=cas)


def _numbers(args: argparse.Namespace, key: bytes, must_be_there: bool) -> tuple[int, int | None]:
    """The number of the new version, and the one it may replace."""
    if args.seq is not None:
        if args.cas is not None and args.cas >= args.seq:
            raise Ended(WRONG_USAGE, "--cas must be below --seq")
        return args.seq, args.cas
    if args.cas is not None:
        return args.cas + 1, args.cas
    present = api_client.get(api_address(args), key)
    if isinstance(present, Found) and is_envelope(present.value):
        seq = opened(key, present.value).seq
        if seq == MAX_SEQ:
            raise Ended(NOT_DONE, "the present version has the greatest number there is", "conflict")
        return seq + 1, seq
    if must_be_there:
        raise Ended(
            NOT_DONE,
            "not found; --renew keeps deleted what was deleted before, --seq N deletes it wherever it may come back "
            "from",
            "not_found",
        )
    # Milliseconds since 1970 are above the number of a tombstone, too, which a node does not tell of.
    return time.time_ns() // 1_000_000, None
