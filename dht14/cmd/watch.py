"""`dht14 watch`: prints the value of a key, and again whenever it changes."""

import argparse

from attrs import define

from dht14.client.address import format_address
from dht14.client.answers import Value
from dht14.client.blocking import Client, watch_reporting
from dht14.client.errors import DhtError, NoNode, NotReady, TimedOut
from dht14.cmd.api_client import no_node_error
from dht14.cmd.command_error import DONE, NO_NODE, NOT_DONE, CommandError
from dht14.cmd.keys import KEY_HELP, SALT_HELP, add_owner_argument, typed_key
from dht14.cmd.node_arguments import add_node_arguments, api_address
from dht14.cmd.output import base64_text, print_bytes, print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.kademlia.contact import Address

USAGE = """dht14 watch KEY [options]
       dht14 watch --owner OWNER [--salt S] [options]"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 watch`."""
    parser.usage = USAGE
    parser.description = (
        "Print the value of a key, and again whenever it changes, until Ctrl-C. Each value ends with a "
        "newline; that there is none (any more) is a line on stderr. With --json each state is an object on "
        "a line of its own. When the node goes away the command waits for it to come back."
    )
    key = parser.add_argument("key", metavar="KEY", help=f"{KEY_HELP}; not given with --owner")
    key.required = False
    add_owner_argument(parser)
    parser.add_argument("--salt", metavar="S", help=SALT_HELP)
    parser.add_argument(
        "--count",
        metavar="N",
        type=whole_number(1_000_000_000, least=1),
        help="end after this many states, the present one included (default: never)",
    )
    add_node_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print states until there were enough of them; return the exit code."""
    key = typed_key(args)
    address = api_address(args)
    states = 0
    try:
        with Client(format_address(*address)) as client:
            for value in watch_reporting(client, key, _ConnectionReport(format_address(*address))):
                states += 1
                goes_on = _print_as_json(key, value) if args.json else _print(value, states == 1)
                if states == args.count or not goes_on:
                    break
    except DhtError as error:
        raise _command_error(address, error) from None
    return DONE


@define
class _ConnectionReport:
    """Says on stderr, once for each loss, that the node is gone, and that it is back."""

    _place: str
    _is_lost: bool = False

    def __call__(self, error: DhtError | None) -> None:
        if error is not None and not self._is_lost:
            why = error.problem if isinstance(error, NoNode) else error
            print_status(f"the node at {self._place} is lost ({why}); waiting for it")
        elif error is None:
            print_status(f"the node at {self._place} answers again")
        self._is_lost = error is not None


def _print(value: Value | None, is_first: bool) -> bool:
    """Return whether somebody reads on."""
    if value is None:
        print_status("no value yet" if is_first else "the value is gone")
        return True
    return print_bytes(value.value + b"\n")


def _print_as_json(key: bytes, value: Value | None) -> bool:
    state: dict[str, object] = {"key": key.hex(), "found": value is not None}
    if value is not None:
        state |= {
            "value": base64_text(value.value),
            "bytes": len(value.value),
            "kind": value.kind,
            "version": value.version,
            "expires_in": value.expires_in,
        }
    return print_json(state)


def _command_error(address: Address, error: DhtError) -> CommandError:
    if isinstance(error, NoNode):
        return no_node_error(address, error.problem)
    if isinstance(error, NotReady | TimedOut):
        name = "not_ready" if isinstance(error, NotReady) else "no_node"
        return CommandError(NO_NODE, f"{format_address(*address)}: {error}", name)
    return CommandError(NOT_DONE, str(error))
