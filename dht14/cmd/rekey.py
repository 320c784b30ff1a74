"""`dht14 rekey`: encrypts the values of a stopped node again, under another key."""

import argparse
import os
import sys

from dht14.app import config
from dht14.app.data_dir import DataDir
from dht14.app.database_dir import has_database, unlock
from dht14.app.option_types import secret_key
from dht14.app.options import Role
from dht14.app.reseal import reseal
from dht14.cmd.ending import DONE
from dht14.cmd.progress import ProgressLine
from dht14.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `dht14 rekey`."""
    parser.add_argument("--config", "-c", help="configuration file of the node, with the old key")
    parser.add_argument("--data-dir", help="its data directory, where that is not in the file")
    # No key itself: other users of the host see the arguments of a process.
    parser.add_argument("--new-key-file", required=True, metavar="PATH", help="file that holds the new key")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code. Raises `StartError` as a node that cannot start."""
    new_key = _new_key(arguments.new_key_file)
    given = {"data_dir": arguments.data_dir} if arguments.data_dir else {}
    settings = config.load(Role.NODE, arguments.config, os.environ, given)
    _must_have_values(settings.node.data_dir)
    data_dir = DataDir.open(settings.node.data_dir)
    try:
        values = unlock(data_dir, settings.security.encryption_key, 0)
        if values.set_aside:
            raise ConfigError(
                f"[node] data_dir: its values were damaged and moved to {values.set_aside}; start the node "
                "with its present key, and its records will be restored from other holders"
            )
        progress = ProgressLine(sys.stderr, "values sealed")
        counts = reseal(values, new_key, settings.storage.storage_limit, progress.at)
        progress.end()
    finally:
        data_dir.close()
    left_out = f", {counts.damaged} damaged ones left out" if counts.damaged else ""
    print(f"{counts.records} values are sealed with the new key{left_out}.")
    print("Before the node is started, set [security] encryption_key to it.")
    return DONE


def _must_have_values(data_dir: str) -> None:
    """Else a mistyped directory would be made, and said to be done, while the values are elsewhere."""
    if not has_database(data_dir):
        raise ConfigError(
            f"[node] data_dir: there are no values in {os.path.abspath(data_dir)}; "
            "give --config or --data-dir as the node has it"
        )


def _new_key(path: str) -> bytes:
    try:
        key = secret_key("file:" + path)
    except ValueError as wrong:
        raise ConfigError(f"--new-key-file: {wrong}") from None
    assert key is not None
    return key
