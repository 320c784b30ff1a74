"""`dht14 keygen` and `dht14 delete`: owners' keys, and the deletion of owners' values."""

import argparse
import os
import time
from contextlib import suppress

from dht14.cmd import api_client
from dht14.cmd.command_error import DONE, NOT_DONE, CommandError
from dht14.cmd.node_arguments import add_node_arguments, add_replication_argument, api_address
from dht14.cmd.output import print_bytes, print_json, print_status
from dht14.cmd.parser import add_json_argument
from dht14.cmd.results import (
    is_stored,
    not_stored_error,
    owner_fields,
    receipt_fields,
    stored_line,
    version_hint,
)
from dht14.cmd.signing import add_version_arguments, signed_envelope
from dht14.database.fsync import fsync_folder
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.envelope import key_of_owner


def add_keygen_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 keygen`."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="owner.pem", help="file to create (default: owner.pem)"
    )
    add_json_argument(parser)


def add_delete_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 delete`."""
    parser.add_argument("--sign", metavar="KEYFILE", required=True, help="the owner's private key")
    parser.add_argument(
        "--renew",
        action="store_true",
        help="renew a deletion: it expires after max_ttl (a day); then any old copy can be put back",
    )
    add_version_arguments(parser)
    add_replication_argument(parser)
    add_node_arguments(parser)


def run_keygen(args: argparse.Namespace) -> int:
    """Create a key file and return the exit code."""
    from dht14.records.signing import load_key, new_key, public_key_of

    pem = new_key()
    _write_new(args.file, pem)
    public_key = public_key_of(load_key(pem))
    key = id_to_bytes(key_of_owner(public_key, b"")).hex()
    if args.json:
        print_json({"file": args.file, "owner": public_key.hex(), "key": key})
    else:
        # The key of a put without a salt.
        print_bytes(f"owner {public_key.hex()}\nkey   {key}\n".encode())
    return DONE


def _write_new(path: str, pem: bytes) -> None:
    """Create a file that only this user can read. An existing file stays as it is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        cure = (
            "name another file: a key that is there is not overwritten"
            if isinstance(error, FileExistsError)
            else "name a file in a folder that this user can write to"
        )
        raise CommandError.of_file("FILE", "create", path, error, cure, "output") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
        # A folder that this user cannot read cannot be flushed.
        with suppress(PermissionError):
            fsync_folder(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        with suppress(OSError):
            os.unlink(path)
        cure = "make room on its disk, or name a file elsewhere"
        raise CommandError.of_file("FILE", "write", path, error, cure, "output") from None


def run_delete(args: argparse.Namespace) -> int:
    """Delete an owner's value and return the exit code."""
    began = time.monotonic()
    envelope = signed_envelope(args, b"", must_be_there=not args.renew)
    key, value = id_to_bytes(envelope.key), envelope.encode()
    # Time to live 0: the node keeps a tombstone for max_ttl.
    receipt = api_client.put(api_address(args), key, value, 0, args.replication)
    deleted = is_stored(receipt)
    if args.json:
        answer = receipt_fields(receipt)
        del answer["stored"]
        seconds = round(time.monotonic() - began, 6)
        print_json(
            {"key": key.hex()} | answer | owner_fields(envelope) | {"deleted": deleted, "seconds": seconds}
        )
    elif not deleted:
        raise not_stored_error(receipt, version_hint(receipt, envelope))
    else:
        print_status(f"the deletion is {stored_line(receipt)}")
        print_bytes(key.hex().encode() + b"\n")
    return DONE if deleted else NOT_DONE
