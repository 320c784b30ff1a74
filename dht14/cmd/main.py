"""`dht14`: finds the command that was typed and runs it."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import dht14
from dht14.cmd import interrupts
from dht14.cmd.command_error import DONE, WRONG_USAGE, CommandError
from dht14.cmd.output import print_bytes, print_status, run_command
from dht14.cmd.parser import Parser, suggestion

_USAGE = "usage: dht14 COMMAND [options]"

DESCRIPTION = """\
Client, maintenance tool and simulator for DHT-14, a distributed hash table.
twistd starts the nodes themselves: see twistd dht14 --help."""

EPILOG = """\
exit codes:
  0  done: found, stored, deleted, healthy
  1  not found, or refused
  2  wrong usage
  3  no node answers, or the node is not ready
  78 a configuration that a node would refuse
  130 interrupted (Ctrl-C)

examples:
  dht14 put greeting "hello, all"
  dht14 get greeting --api-address 127.0.0.1:7402
  dht14 put --file photo.jpg --content
  dht14 wait && dht14 health --config conf/config.ini
  dht14 status --data-dir data/node
  dht14 trace greeting

dht14 help COMMAND shows the options of a command."""


class Command(NamedTuple):
    """What a command is for, and the functions in `dht14.cmd.MODULE` that add its arguments and run it."""

    purpose: str
    module: str
    add_arguments: str = "add_arguments"
    run: str = "run"

    def load(self) -> tuple[Callable[[Any], None], Callable[[Any], int]]:
        """Import the module and return its two functions."""
        module = import_module(f"dht14.cmd.{self.module}")
        return getattr(module, self.add_arguments), getattr(module, self.run)


COMMANDS = {
    "put": Command("store a value in the network", "put_get", "add_put_arguments", "run_put"),
    "get": Command("fetch a value from the network", "put_get", "add_get_arguments", "run_get"),
    "watch": Command("print a value, and again whenever it changes", "watch"),
    "delete": Command(
        "delete an owner's value from the network", "owner", "add_delete_arguments", "run_delete"
    ),
    "key": Command("print the key of a text, a value or an owner", "keys", "add_key_arguments", "run_key"),
    "keygen": Command("create an owner's private key", "owner", "add_keygen_arguments", "run_keygen"),
    "rekey": Command("encrypt the values of a stopped node with another key", "rekey"),
    "config": Command("list all options, or check a configuration", "config_options"),
    "health": Command("check that a node of this host works", "health"),
    "wait": Command("wait until a node is ready", "wait"),
    "status": Command(
        "show a node at a glance, and what to do", "inspect", "add_status_arguments", "run_status"
    ),
    "peers": Command("list the contacts of a node", "inspect", "add_peers_arguments", "run_peers"),
    "table": Command("list the k-buckets of a node", "inspect", "add_table_arguments", "run_table"),
    "keys": Command(
        "list the keys that a node holds on its disk", "records", "add_keys_arguments", "run_keys"
    ),
    "keep": Command(
        "let a node renew a value until you say otherwise", "keep", "add_keep_arguments", "run_keep"
    ),
    "unkeep": Command("let a kept value expire", "keep", "add_unkeep_arguments", "run_unkeep"),
    "kept": Command("list the values that a node renews", "kept", "add_kept_arguments", "run_kept"),
    "locate": Command("list which nodes hold a key", "records", "add_locate_arguments", "run_locate"),
    "trace": Command("show every call of a get", "trace"),
    "nodes": Command("walk the network and list its nodes", "nodes"),
    "top": Command("show the rates of a node, once a second", "top"),
    "dashboard": Command("show a node in a browser", "dashboard"),
    "log-level": Command(
        "change the log level of a running node", "inspect", "add_log_level_arguments", "run_log_level"
    ),
    "testnet": Command("run a network of real nodes on this host", "testnet"),
    "sim": Command("simulate a whole network in this process", "sim"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    before_dashes = words[: words.index("--")] if "--" in words else words
    return run_command(lambda: _run(words), as_json="--json" in before_dashes)


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
    # Import only this command: a client must not wait for the imports of Twisted and the simulator.
    add_arguments, run = command.load()
    interrupts.raise_exception()
    purpose = command.purpose
    parser = Parser(prog=f"dht14 {name}", description=f"{purpose[0].upper()}{purpose[1:]}.")
    add_arguments(parser)
    try:
        return run(parser.parse_args(words[1:]))
    except CommandError as end:
        if end.error == "wrong_usage":
            print_status(parser.format_usage().rstrip("\n"))
        raise


def _no_command(name: str) -> CommandError:
    print_status(_USAGE)
    if not name:
        return CommandError(WRONG_USAGE, f"give a command: {', '.join(COMMANDS)}; dht14 help describes them")
    if name.startswith("-"):
        return CommandError(WRONG_USAGE, f"unknown option: {name}; options follow the command")
    return CommandError(
        WRONG_USAGE, f"unknown command: {name}{suggestion(name, COMMANDS)}; dht14 help lists them"
    )


def _help() -> str:
    lines = "\n".join(f"  {name:<10} {command.purpose}" for name, command in COMMANDS.items())
    return f"{_USAGE}\n\n{DESCRIPTION}\n\ncommands:\n{lines}\n\n{EPILOG}\n"
