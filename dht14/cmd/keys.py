"""What a KEY can be at the command line, and `dht14 key`, which prints it as its 64 hex digits."""

import argparse
import hashlib
import re

from dht14.cmd.ending import DONE, WRONG_USAGE, Ended, print_bytes, print_json
from dht14.cmd.parser import add_json_argument, typed_bytes
from dht14.cmd.values import add_file_argument, given_value
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.envelope import MAX_SALT, OWNER_KEY_BYTES, key_of_owner

KEY_HELP = "64 hex digits, or any text: then its SHA-256 is the key (hex: or text: before it says which)"

KEY_DIGITS = 64
LIKE_A_KEY = 50
"""So many hex digits and nothing else are hardly meant as a text."""

SALT_HELP = f"text of up to {MAX_SALT} bytes that tells apart the keys of one owner"


def add_owner_argument(parser: argparse.ArgumentParser) -> None:
    """Who the owner of the key is."""
    parser.add_argument(
        "--owner", metavar="OWNER", help="public key of an owner, 64 hex digits, as dht14 keygen prints it"
    )


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 key`."""
    parser.description = (
        "Print a key as its 64 hex digits: that of a text, of a content, or of an owner. Asks no node."
    )
    parser.usage = """dht14 key --text TEXT
       dht14 key --content (VALUE | --file F)
       dht14 key --owner OWNER [--salt S]"""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--text", metavar="TEXT", help="the key that a text stands for")
    which.add_argument("--content", action="store_true", help="the key of a value: its SHA-256")
    which.add_argument(
        "--owner", metavar="OWNER", help="public key of an owner, 64 hex digits, as dht14 keygen prints it"
    )
    value = parser.add_argument(
        "value", metavar="VALUE", nargs="?", help="the value, as text (or give --file)"
    )
    value.required = False
    add_file_argument(parser)
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    add_json_argument(parser)


def run_key(args: argparse.Namespace) -> int:
    """Print a key; the exit code."""
    if args.content:
        key = hashlib.sha256(given_value(args.value, args.file)).digest()
    elif (args.value, args.file) != (None, None):
        raise Ended(WRONG_USAGE, "VALUE and --file go with --content")
    else:
        key = key_of_text(args.text) if args.owner is None else owners_key(args.owner, args.salt)
    if args.salt is not None and args.owner is None:
        raise Ended(WRONG_USAGE, "--salt goes with --owner")
    if args.json:
        print_json({"key": key.hex()})
    else:
        print_bytes(key.hex().encode() + b"\n")
    return DONE


def key_of(typed: str) -> bytes:
    """The key that a KEY stands for. Raises `Ended` for an empty one, and for what looks like a key in hex and is
    none."""
    if not typed:
        # Rather a variable of a script that was never set than a key.
        raise Ended(WRONG_USAGE, "the key is empty; if the empty text is meant, write text:", "bad_key")
    if typed.startswith("text:"):
        return key_of_text(typed.removeprefix("text:"))
    if typed.startswith("hex:"):
        return _hex(typed.removeprefix("hex:"), "a key")
    if re.fullmatch(f"[0-9A-Fa-f]{{{KEY_DIGITS}}}", typed):
        return bytes.fromhex(typed)
    if re.fullmatch("0[xX][0-9A-Fa-f]+", typed):
        raise Ended(
            WRONG_USAGE, f"a key is written without 0x; if the text is meant, write text:{typed}", "bad_key"
        )
    if re.fullmatch(f"[0-9A-Fa-f]{{{LIKE_A_KEY},}}", typed):
        raise Ended(
            WRONG_USAGE,
            f"that looks like a key, but has {len(typed)} of {KEY_DIGITS} hex digits; if the text is meant, write "
            f"text:{typed}",
            "bad_key",
            digits=len(typed),
        )
    return key_of_text(typed)


def key_of_text(text: str) -> bytes:
    """The SHA-256 of a text."""
    return hashlib.sha256(typed_bytes(text)).digest()


def owners_key(owner: str, salt: str | None) -> bytes:
    """The key of an owner's value. Raises `Ended`."""
    return id_to_bytes(key_of_owner(_hex(owner, "an owner", OWNER_KEY_BYTES), salt_of(salt)))


def salt_of(typed: str | None) -> bytes:
    """The bytes of a salt. Raises `Ended`."""
    salt = typed_bytes(typed or "")
    if len(salt) > MAX_SALT:
        raise Ended(WRONG_USAGE, f"the salt has {len(salt)} bytes; it may have {MAX_SALT}")
    return salt


def _hex(digits: str, what: str, size: int = KEY_DIGITS // 2) -> bytes:
    if not re.fullmatch(f"[0-9A-Fa-f]{{{2 * size}}}", digits):
        raise Ended(
            WRONG_USAGE, f"{what} has {2 * size} hex digits; this is something else: {digits!r}", "bad_key"
        )
    return bytes.fromhex(digits)
