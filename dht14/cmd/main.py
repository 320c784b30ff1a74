"""`dht14`: the commands that are typed at a shell."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import dht14
from dht14.cmd.ending import DONE, WRONG_USAGE, Ended, concluded, print_bytes, say
from dht14.cmd.parser import Parser, meant

_USAGE = "usage: dht14 COMMAND [options]"

_DESCRIPTION = """\
Client, caretaker and simulator of nodes of DHT-14, a distributed hash table.
Nodes themselves are started by twistd: see twistd dht14 --help."""

_EPILOG = """\
exit codes:
  0  done: found, stored, deleted, healthy
  1  not found, or refused
  2  wrong usage
  3  no node answers, or it is not ready
  78 a configuration that a node would refuse
  130 interrupted

examples:
  dht14 put greeting "hello, all"
  dht14 get greeting --api-address 127.0.0.1:7402
  dht14 put --file photo.jpg --content
  dht14 wait && dht14 health --config conf/config.ini

dht14 help COMMAND tells more about each command."""


class Command(NamedTuple):
    """Where a command is found: a module with a function for its arguments and one that runs it."""

    purpose: str
    module: str
    add_arguments: str
    run: str


COMMANDS = {
    "put": Command("store a value in the network", "dht14.cmd.put_get", "add_put_arguments", "run_put"),
    "get": Command("fetch a value from the network", "dht14.cmd.put_get", "add_get_arguments", "run_get"),
    "delete": Command(
        "delete an owner's value from the network", "dht14.cmd.owner", "add_delete_arguments", "run_delete"
    ),
    "key": Command(
        "print the key of a text, a value or an owner", "dht14.cmd.keys", "add_key_arguments", "run_key"
    ),
    "keygen": Command("make an owner's private key", "dht14.cmd.owner", "add_keygen_arguments", "run_keygen"),
    "rekey": Command(
        "seal the values of a stopped node with another key", "dht14.cmd.rekey", "add_arguments", "run"
    ),
    "health": Command("tell whether a node of this host works", "dht14.cmd.health", "add_arguments", "run"),
    "wait": Command("wait until a node is ready", "dht14.cmd.wait", "add_arguments", "run"),
    "sim": Command("run a whole network in this process", "dht14.cmd.sim", "add_arguments", "run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (2: wrong usage)."""
    words = list(sys.argv[1:] if argv is None else argv)
    before_dashes = words[: words.index("--")] if "--" in words else words
    return concluded(lambda: _run(words), as_json="--json" in before_dashes)


def _run(words: list[str]) -> int:
    if words[:1] == ["help"] and len(words) > 1 and not words[1].startswith("-"):
        words = [words[1], "--help"]
    name = words[0] if words else ""
    if name in ("help", "--help", "-h"):
        print_bytes(_help().encode())
        return DONE
    if name == "--version":
        print_bytes(f"DHT-14 {dht14.__version__}\n".encode())
        return DONE
    command = COMMANDS.get(name)
    if command is None:
        raise _no_command(name)
    # Only what is asked for is imported: a client must not wait for the simulator's Twisted.
    module = import_module(command.module)
    parser = Parser(prog=f"dht14 {name}", description=command.purpose)
    getattr(module, command.add_arguments)(parser)
    try:
        code: int = getattr(module, command.run)(parser.parse_args(words[1:]))
    except Ended as end:
        if end.error == "wrong_usage":
            say(parser.format_usage().rstrip("\n"))
        raise
    return code


def _no_command(name: str) -> Ended:
    say(_USAGE)
    if not name:
        return Ended(WRONG_USAGE, f"no command is given: one of {', '.join(COMMANDS)}; dht14 help tells more")
    if name.startswith("-"):
        return Ended(WRONG_USAGE, f"unknown option: {name}; options stand behind the command")
    return Ended(WRONG_USAGE, f"unknown command: {name}{meant(name, COMMANDS)}; dht14 help lists them")


def _help() -> str:
    lines = "\n".join(f"  {name:<8} {command.purpose}" for name, command in COMMANDS.items())
    return f"{_USAGE}\n\n{_DESCRIPTION}\n\ncommands:\n{lines}\n\n{_EPILOG}\n"
