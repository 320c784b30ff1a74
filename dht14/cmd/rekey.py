"""`dht14 rekey`: encrypts the values of a stopped node with another key."""

import argparse
import os
import sys

from dht14.app import config
from dht14.app.data_dir import DataDir
from dht14.app.database_dir import has_database, unlock
from dht14.app.option_types import key_from_file
from dht14.app.options import Role
from dht14.app.reseal import reseal
from dht14.cmd.command_error import DONE
from dht14.cmd.progress import ProgressLine
from dht14.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 rekey`."""
    parser.add_argument(
        "--config", "-c", metavar="FILE", help="configuration file of the node, with the old key"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="data directory of the node, if not in the configuration file"
    )
    # Not the key itself: other users of the host see the arguments of a process.
    parser.add_argument("--new-key-file", required=True, metavar="FILE", help="file with the new key")


def run(arguments: argparse.Namespace) -> int:
    """Encrypt the values again and return the exit code. Raises `StartError`, like a node that cannot
    start."""
    new_key = _new_key(arguments.new_key_file)
    given = {"data_dir": arguments.data_dir} if arguments.data_dir else {}
    settings = config.load(Role.NODE, arguments.config, os.environ, given)
    _must_have_values(settings.node.data_dir)
    data_dir = DataDir.open(settings.node.data_dir)
    try:
        values = unlock(data_dir, settings.security.encryption_key, 0)
        if values.set_aside:
            what = "of an older version" if values.is_outdated else "damaged"
            raise ConfigError(
                f"[node] data_dir: its values were {what} and were moved to {values.set_aside}; start the "
                "node with its present key, and it restores them from other holders"
            )
        progress = ProgressLine(sys.stderr, "values encrypted")
        counts = reseal(values, new_key, settings.storage.storage_limit, progress.update)
        progress.end()
    finally:
        data_dir.close()
    left_out = f"; damaged ones left out: {counts.damaged}" if counts.damaged else ""
    print(f"Values encrypted with the new key: {counts.records}{left_out}.")
    print("Set [security] encryption_key to the new key before you start the node.")
    return DONE


def _must_have_values(data_dir: str) -> None:
    """Refuse a mistyped directory: it would be created and reported as done, while the values are
    elsewhere."""
    if not has_database(data_dir):
        raise ConfigError(
            f"[node] data_dir: there are no values in {os.path.abspath(data_dir)}; "
            "give the same --config or --data-dir as to the node"
        )


def _new_key(path: str) -> bytes:
    try:
        return key_from_file(path)
    except ValueError as wrong:
        raise ConfigError(f"--new-key-file: {wrong}") from None
