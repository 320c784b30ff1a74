"""`dht14 keep` and `unkeep`: values, and whole files, that a node renews."""

import argparse

from dht14.cmd.admin_client import add_admin_arguments
from dht14.cmd.command_error import DONE, NOT_DONE, CommandError
from dht14.cmd.kept import UnkeptJson, keep_keys, keep_value, keeping_client, kept_line
from dht14.cmd.keys import add_key_argument, parse_key
from dht14.cmd.node_arguments import add_api_argument, add_replication_argument
from dht14.cmd.output import print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import counted
from dht14.files.address import SCHEME
from dht14.net.admin.view import UnkeptFileJson


def add_keep_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 keep`."""
    parser.description = (
        "Let a node renew what is stored under a key, until dht14 unkeep: it keeps a copy on its disk, and "
        "puts it again when others have lost it. An owner's value is followed: the newest one is renewed. An "
        "open value that somebody overwrites, also with one that another node keeps, and a value that its "
        "owner deletes, are not renewed any more: dht14 kept shows them as replaced or deleted. Of a file, "
        "dht14:HEX, all pieces are kept: the node finds them through its API."
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
    kept = keep_value(keeping_client(args), parse_key(args.key), b"", None, args.ttl, args.replication)
    if args.json:
        print_json(kept)
    else:
        print_status(kept_line(kept))
    return DONE


def _keep_all(args: argparse.Namespace) -> int:
    from dht14.cmd.file_commands import file_keys

    client = keeping_client(args)
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
        "dht14:HEX, no part is renewed any more, but for those that another kept file has, too, and those "
        "that are kept by their own keys as well. In the same way a value that is also a part of a kept file "
        "stays with that; let go by its key once more, it leaves the list all the same."
    )
    add_key_argument(parser)
    add_api_argument(parser)
    add_admin_arguments(parser)


def run_unkeep(args: argparse.Namespace) -> int:
    """Take a value, or all values of a file, off the list and return the exit code."""
    if args.key.startswith(SCHEME):
        return _unkeep_all(args)
    answer = keeping_client(args).send("DELETE", f"/v1/kept/{parse_key(args.key).hex()}", UnkeptJson)
    if args.json:
        print_json(answer)
    elif answer["by"]:
        print_status("let go by its key; still renewed with a kept file")
    else:
        print_status("not renewed any more")
    return DONE


def _unkeep_all(args: argparse.Namespace) -> int:
    path = f"/v1/kept/{parse_key(args.key).hex()}"
    try:
        unkept = keeping_client(args).send("DELETE", path, UnkeptFileJson, by="file")
    except CommandError as error:
        if error.error != "not_found":
            raise
        raise CommandError(
            NOT_DONE,
            "no file is kept under this address; dht14 kept lists the addresses, as kept by file",
            "not_found",
        ) from None
    if args.json:
        facts = {"unkept": unkept["ended"], "shared": unkept["shared"], "by_key": unkept["by_key"]}
        print_json({"address": args.key, **facts, "complete": unkept["complete"]})
    elif not unkept["complete"]:
        print_status("let go; its parts that no other kept file has are soon not renewed any more")
    else:
        others = f"; parts that other kept files have, too: {unkept['shared']:,}" if unkept["shared"] else ""
        if unkept["by_key"]:
            others += f"; parts that are kept by their own keys, too: {unkept['by_key']:,}"
        print_status(f"not renewed any more: {counted(unkept['ended'], 'part')}{others}")
    return DONE
