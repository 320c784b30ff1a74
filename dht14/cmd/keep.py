"""`dht14 keep` and `unkeep`: values, and whole files, that a node renews."""

import argparse

from dht14.cmd.admin_client import add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, NOT_DONE, CommandError
from dht14.cmd.kept import UnkeptJson, keep_keys, keep_value, kept_line
from dht14.cmd.keys import add_key_argument, parse_key
from dht14.cmd.node_arguments import add_api_argument, add_replication_argument
from dht14.cmd.output import print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import counted
from dht14.files.address import SCHEME


def add_keep_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 keep`."""
    parser.description = (
        "Let a node renew what is stored under a key, until dht14 unkeep: it keeps a copy on its disk, and "
        "puts it again when others have lost it. An owner's value is followed: the newest one is renewed. An "
        "open value that somebody overwrites, and a value that its owner deletes, are not renewed any more. "
        "Of a file, dht14:HEX, all pieces are kept: the node finds them through its API."
    )
    add_key_argument(parser)
    parser.add_argument(
        "--ttl",
        metavar="S",
        type=whole_number(0xFFFF),
        default=0,
        help="seconds that it lives after each renewal (default: the node's default)",
    )
    add_replication_argument(parser)
    add_api_argument(parser)
    add_admin_arguments(parser)


def run_keep(args: argparse.Namespace) -> int:
    """Keep a value, or all values of a file, and return the exit code."""
    if args.key.startswith(SCHEME):
        return _keep_all(args)
    kept = keep_value(admin_client(args), parse_key(args.key), b"", None, args.ttl, args.replication)
    if args.json:
        print_json({**kept})
    else:
        print_status(kept_line(kept))
    return DONE


def _keep_all(args: argparse.Namespace) -> int:
    from dht14.cmd.file_commands import file_keys

    client = admin_client(args)
    keys = file_keys(args)
    refused = list(keep_keys(client, keys, args.ttl, args.replication))
    if refused:
        raise CommandError(
            NOT_DONE,
            f"parts of the file that are not kept: {len(refused):,} of {len(keys):,}; {refused[0]['error']}",
            "not_kept",
        )
    if args.json:
        print_json({"address": args.key, "kept": len(keys)})
    else:
        print_status(f"kept: the file, in {counted(len(keys), 'part')}")
    return DONE


def add_unkeep_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 unkeep`."""
    parser.description = (
        "Let a node renew a value no more. It lives until the end of its present time to live. Of a file, "
        "dht14:HEX, no part is renewed any more, also if another kept file has it."
    )
    add_key_argument(parser)
    add_api_argument(parser)
    add_admin_arguments(parser)


def run_unkeep(args: argparse.Namespace) -> int:
    """Take a value, or all values of a file, off the list and return the exit code."""
    if args.key.startswith(SCHEME):
        return _unkeep_all(args)
    answer = admin_client(args).send("DELETE", f"/v1/kept/{parse_key(args.key).hex()}", UnkeptJson)
    if args.json:
        print_json({**answer})
    else:
        print_status("not renewed any more")
    return DONE


def _unkeep_all(args: argparse.Namespace) -> int:
    from dht14.cmd.file_commands import file_keys

    client = admin_client(args)
    ended = 0
    for key in file_keys(args):
        try:
            client.send("DELETE", f"/v1/kept/{key.hex()}", UnkeptJson)
            ended += 1
        except CommandError as error:
            if error.error != "not_found":
                raise
    if not ended:
        raise CommandError(NOT_DONE, "no part of this file is kept; dht14 kept lists what is", "not_found")
    if args.json:
        print_json({"address": args.key, "unkept": ended})
    else:
        print_status(f"not renewed any more: {counted(ended, 'part')}")
    return DONE
