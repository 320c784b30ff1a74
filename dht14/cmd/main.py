"""`dht14`: the commands that are typed at a shell."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import dht14

_DESCRIPTION = """\
Client, caretaker and simulator of nodes of DHT-14, a distributed hash table.
Nodes themselves are started by twistd: see twistd dht14 --help."""

_EPILOG = """\
exit codes:
  0  done: found, stored, deleted, healthy
  1  not found, or refused
  2  wrong usage
  3  no node answers
  78 a configuration that a node would refuse

examples:
  dht14 put greeting "hello, all"
  dht14 get greeting --api-address 127.0.0.1:7402
  dht14 put --file photo.jpg --content
  dht14 health --config conf/config.ini

dht14 COMMAND --help tells more about each command."""


class Command(NamedTuple):
    """Where a command is found: a module with a function for its arguments and one that runs it."""

    purpose: str
    module: str
    add_arguments: str
    run: str


COMMANDS = {
    "put": Command("store a value in the network", "dht14.cmd.client", "add_put_arguments", "run_put"),
    "get": Command("fetch a value from the network", "dht14.cmd.client", "add_get_arguments", "run_get"),
    "delete": Command(
        "delete an owner's value from the network", "dht14.cmd.owner", "add_delete_arguments", "run_delete"
    ),
    "keygen": Command("make an owner's private key", "dht14.cmd.owner", "add_keygen_arguments", "run_keygen"),
    "rekey": Command(
        "seal the values of a stopped node with another key", "dht14.cmd.rekey", "add_arguments", "run"
    ),
    "health": Command("tell whether a node of this host works", "dht14.cmd.health", "add_arguments", "run"),
    "sim": Command("run a whole network in this process", "dht14.cmd.sim", "add_arguments", "run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (2: wrong usage)."""
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="dht14",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"DHT-14 {dht14.__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = parsers.add_parser(name, help=command.purpose, description=command.purpose)
        # Only what is asked for is imported: a client must not wait for the simulator's Twisted.
        if name in words:
            getattr(import_module(command.module), command.add_arguments)(one)
    arguments = parser.parse_args(words)
    command = COMMANDS[arguments.command]
    code: int = getattr(import_module(command.module), command.run)(arguments)
    return code
