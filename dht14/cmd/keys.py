"""The forms of a KEY at the command line, and `dht14 key`, which prints a key as its 64 hex digits."""

import argparse

from dht14.client import keys
from dht14.client.errors import BadKey
from dht14.client.keys import content_key, key_of, text_key
from dht14.cmd.command_error import DONE, WRONG_USAGE, CommandError
from dht14.cmd.output import print_bytes, print_json
from dht14.cmd.parser import add_json_argument, typed_bytes
from dht14.cmd.value_input import add_file_argument, read_value
from dht14.records.envelope import MAX_SALT

KEY_HELP = "64 hex digits, or any text, whose SHA-256 is the key (the prefix hex: or text: decides)"

SALT_HELP = f"text of up to {MAX_SALT} bytes that distinguishes the keys of one owner"


def add_key_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument KEY."""
    parser.add_argument("key", metavar="KEY", help=KEY_HELP)


def add_owner_argument(parser: argparse._ActionsContainer) -> None:
    """Add the option for the owner of the key."""
    parser.add_argument(
        "--owner", metavar="OWNER", help="public key of an owner, 64 hex digits, as dht14 keygen prints it"
    )


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 key`."""
    parser.description = "Print the key of a text, a value or an owner as 64 hex digits. Asks no node."
    parser.usage = """dht14 key --text TEXT
       dht14 key --content (VALUE | --file F)
       dht14 key --owner OWNER [--salt S]"""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--text", metavar="TEXT", help="print the key that a text stands for")
    which.add_argument("--content", action="store_true", help="print the key of a value: its SHA-256")
    add_owner_argument(which)
    value = parser.add_argument(
        "value", metavar="VALUE", nargs="?", help="the value, as text (or give --file)"
    )
    value.required = False
    add_file_argument(parser)
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    add_json_argument(parser)


def run_key(args: argparse.Namespace) -> int:
    """Print a key and return the exit code."""
    if args.content:
        key = content_key(read_value(args.value, args.file))
    elif (args.value, args.file) != (None, None):
        raise CommandError(WRONG_USAGE, "VALUE and --file need --content")
    else:
        key = text_key(args.text) if args.owner is None else owner_key(args.owner, args.salt)
    if args.salt is not None and args.owner is None:
        raise CommandError(WRONG_USAGE, "--salt needs --owner")
    if args.json:
        print_json({"key": key.hex()})
    else:
        print_bytes(key.hex().encode() + b"\n")
    return DONE


def parse_key(typed: str) -> bytes:
    """Return the key that a KEY stands for.

    Raises `CommandError` for an empty KEY, and for one that looks like hex digits but is not a key.
    """
    try:
        return key_of(typed)
    except BadKey as error:
        raise _bad_key(error) from None


def owner_key(owner: str, salt: str | None) -> bytes:
    """Return the key of an owner's value. Raises `CommandError`."""
    salt_bytes = parse_salt(salt)
    try:
        return keys.owner_key(owner, salt_bytes)
    except BadKey as error:
        raise _bad_key(error) from None


def typed_key(args: argparse.Namespace) -> bytes:
    """Return the key of a command that takes a KEY or `--owner`. Raises `CommandError`."""
    if args.owner is not None and args.key is None:
        return owner_key(args.owner, args.salt)
    if args.key is None or args.owner is not None:
        raise CommandError(WRONG_USAGE, "give either a KEY or --owner OWNER")
    if args.salt is not None:
        raise CommandError(WRONG_USAGE, "--salt needs --owner")
    return parse_key(args.key)


def parse_salt(typed: str | None) -> bytes:
    """Return the bytes of a salt. Raises `CommandError`."""
    salt = typed_bytes(typed or "")
    if len(salt) > MAX_SALT:
        raise CommandError(WRONG_USAGE, f"the salt has {len(salt)} bytes; it may have {MAX_SALT}")
    return salt


def _bad_key(error: BadKey) -> CommandError:
    facts = {} if error.digits is None else {"digits": error.digits}
    return CommandError(WRONG_USAGE, str(error), "bad_key", **facts)
