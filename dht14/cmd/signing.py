"""Signs and verifies owners' values: `--sign`, `--salt`, `--seq` and `--cas` of `dht14 put` and `dht14
delete`.

The cryptography is imported where it is used: it takes as long to load as all the rest of a client.
"""

import argparse
import time
from typing import TYPE_CHECKING

from dht14.client.answers import envelope_from
from dht14.client.errors import Forged, Refused
from dht14.client.plans import first_version, next_version
from dht14.cmd import api_client
from dht14.cmd.api_client import Found
from dht14.cmd.command_error import NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.keys import SALT_HELP, parse_salt
from dht14.cmd.node_arguments import api_address
from dht14.cmd.parser import whole_number
from dht14.cmd.value_input import read_file, too_large_error
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import MAX_SEQ, Envelope, is_envelope, key_of_owner, overhead

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CURE = "name the file of an owner's private key; dht14 keygen creates one"


def add_version_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the commands that sign."""
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    parser.add_argument(
        "--seq",
        metavar="N",
        type=whole_number(MAX_SEQ, least=1),
        help="number of this version; the greatest wins (default: the present version's number plus one)",
    )
    parser.add_argument(
        "--cas",
        metavar="N",
        type=whole_number(MAX_SEQ - 1),
        help="store only if no version above N is held (default without --seq: the present version's number)",
    )


def signed_envelope(args: argparse.Namespace, payload: bytes, must_be_there: bool = False) -> Envelope:
    """Sign a payload; an empty one makes a tombstone.

    Version numbers are those given, or follow from the version that the node finds. Raises `CommandError`,
    also if the node finds nothing where something `must_be_there`.
    """
    from dht14.records.signing import public_key_of, sign_envelope

    private_key = load_owner_key(args.sign)
    salt = parse_salt(args.salt)
    if len(payload) + overhead(salt) > MAX_VALUE:
        raise too_large_error(len(payload), MAX_VALUE - overhead(salt))
    key = id_to_bytes(key_of_owner(public_key_of(private_key), salt))
    seq, cas = _version_numbers(args, key, must_be_there)
    return sign_envelope(private_key, seq, payload, salt=salt, cas=cas)


def load_owner_key(path: str) -> "Ed25519PrivateKey":
    """Return the private key in a file. Raises `CommandError`."""
    from dht14.records.signing import load_key

    try:
        return load_key(read_file(path, "--sign", _CURE))
    except Malformed as flaw:
        raise CommandError(
            WRONG_USAGE, f"--sign: cannot sign with {path!r} ({flaw}); {_CURE}", "bad_key_file"
        ) from None


def check_version_numbers(args: argparse.Namespace) -> None:
    """Raise `CommandError` for numbers that exclude each other."""
    if args.seq is not None and args.cas is not None and args.cas >= args.seq:
        raise CommandError(WRONG_USAGE, "--cas must be below --seq")


def _version_numbers(args: argparse.Namespace, key: bytes, must_be_there: bool) -> tuple[int, int | None]:
    """Return the number of the new version, and of the one that it may replace."""
    check_version_numbers(args)
    if args.seq is not None:
        return args.seq, args.cas
    if args.cas is not None:
        return args.cas + 1, args.cas
    present = api_client.get(api_address(args), key)
    if isinstance(present, Found) and is_envelope(present.value):
        try:
            return next_version(verified_envelope(key, present.value).seq)
        except Refused:
            raise CommandError(
                NOT_DONE, "the present version already has the greatest possible number", "conflict"
            ) from None
    if must_be_there:
        raise CommandError(
            NOT_DONE,
            "not found; use --renew to keep deleted what was deleted before, or --seq N to delete every "
            "copy that may come back",
            "not_found",
        )
    return first_version(time.time()), None


def verified_envelope(key: bytes, value: bytes) -> Envelope:
    """Decode the envelope that a node found under `key`. Raises `CommandError` unless the key's owner signed
    it."""
    try:
        return envelope_from(key, value)
    except Forged as error:
        raise CommandError(NOT_DONE, f"{error}; --raw shows it", "forged") from None
