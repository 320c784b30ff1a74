"""`dht14 top`: the rates of a node, once a second."""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen

from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, NO_NODE, CommandError
from dht14.cmd.event_stream import events
from dht14.cmd.inspect import state_of
from dht14.cmd.output import print_bytes, print_json
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import counted, duration
from dht14.cmd.table import SHOWN_DIGITS, byte_size, is_terminal, milliseconds, print_lines
from dht14.net.admin.view import StatusJson

RATES = ("received", "sent", "api", "failed", "dropped", "refused")
"""What the node counts: requests of other nodes, own calls, requests of clients, own calls that failed,
datagrams that were dropped, and refusals."""

_TITLES = ("received", "sent", "clients", "failed", "dropped", "refused")

_CLEAR = "\x1b[H\x1b[J"
"""Moves to the first line of a terminal and clears it."""


@frozen
class Second:
    """What a node did since the event before, and its state."""

    status: StatusJson
    rates: Mapping[str, float]
    """Per second, by the names of `RATES`."""
    p50: float | None
    """Seconds within which half of all calls since the start were answered; None without any."""
    p99: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 top`."""
    parser.description = (
        "Show the rates of a node, once a second until Ctrl-C: a screen on a terminal, else lines of time, "
        "state, contacts, records; per second requests received, calls sent, requests of clients, failed "
        "calls, dropped datagrams, refusals; and the latency of calls since the start in ms (half, 99 %)."
    )
    parser.add_argument("--count", metavar="N", type=whole_number(10**9, 1), help="end after N seconds")
    add_admin_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Show the rates of a node and return the exit code."""
    client = admin_client(args)
    left = args.count
    with suppress(KeyboardInterrupt):
        for second in rates(client):
            is_read = _print(second, client, args.json)
            left = left - 1 if left is not None else None
            if not is_read or left == 0:
                break
    return DONE


def _print(second: Second, client: AdminClient, as_json: bool) -> bool:
    """Return whether somebody reads on."""
    if as_json:
        return print_json({"status": second.status, **second.rates, "p50": second.p50, "p99": second.p99})
    if is_terminal():
        return print_bytes((_CLEAR + "".join(f"{line}\n" for line in screen(second, client))).encode())
    return print_lines(["\t".join(_facts(second))])


def rates(client: AdminClient) -> Iterator[Second]:
    """Yield the rates of a node, each second. Raises `CommandError` when the node ends."""
    before: Any = None
    for kind, now in events(client, "/v1/events"):
        if kind != "status":
            continue
        try:
            second = _difference(before, now) if before is not None else None
        except (KeyError, TypeError, ZeroDivisionError):
            raise client.stranger() from None
        before = now
        if second is not None:
            yield second
    raise CommandError(NO_NODE, f"the node at {client.place} has ended")


def _difference(before: Any, now: Any) -> Second:
    seconds = now["at"] - before["at"]
    old, new = before["totals"], now["totals"]
    # A node that has just opened its values counts from 0.
    per_second = {name: max(new[name] - old[name], 0) / seconds for name in RATES}
    return Second(now["status"], per_second, new["p50"], new["p99"])


def screen(second: Second, client: AdminClient) -> list[str]:
    """Return the lines of the screen."""
    status, storage = second.status, second.status["storage"]
    node_id = status["node_id"]
    name = node_id[:SHOWN_DIGITS] if node_id is not None else "no id yet"
    size = (
        f" of about {counted(status['network_size'], 'node')}" if status["network_size"] is not None else ""
    )
    lines = [
        f"DHT-14 {name}  {status['role']}  {state_of(status)}  up for {duration(status['uptime'])}",
        "",
        "per second  " + "".join(f"{title:>10}" for title in _TITLES),
        " " * 12 + "".join(f"{second.rates[name]:>10.1f}" for name in RATES),
        "",
        f"latency     half of all calls within {_bound(second.p50)}, 99 % within {_bound(second.p99)}",
        f"contacts    {status['contacts']:,}{size}",
    ]
    if storage is not None:
        space = f"{byte_size(storage['used'])} of {byte_size(storage['limit'])}"
        lines.append(f"records     {storage['records']:,}, {space}")
    return [*lines, f"admin       {client.place}", "", status["advice"]]


def _bound(seconds: float | None) -> str:
    return "-" if seconds is None else f"{milliseconds(seconds)} ms"


def _facts(second: Second) -> list[str]:
    status, storage = second.status, second.status["storage"]
    return [
        time.strftime("%H:%M:%S"),
        "ready" if status["ready"] else "not ready",
        str(status["contacts"]),
        str(storage["records"]) if storage is not None else "-",
        *(f"{rate:.1f}" for rate in second.rates.values()),
        milliseconds(second.p50),
        milliseconds(second.p99),
    ]
