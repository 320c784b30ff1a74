"""`dht14 trace KEY`: a get, call by call."""

import argparse
from collections.abc import Iterable, Mapping, Sequence

from dht14.client.address import format_address
from dht14.cmd.admin_client import add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, NO_NODE, NOT_DONE
from dht14.cmd.keys import add_key_argument, parse_key
from dht14.cmd.output import print_json, print_status
from dht14.cmd.progress import counted
from dht14.cmd.table import SHOWN_DIGITS, is_terminal, milliseconds, print_lines
from dht14.net.admin.view import StepJson, TraceJson

WATERFALL = 32
"""Characters of the time line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 trace`."""
    parser.description = (
        "Let a node get a value, and show every call that it made for it: when, to whom, who had named that "
        "node, and how it ended. Exit codes as those of dht14 get."
    )
    add_key_argument(parser)
    parser.add_argument(
        "--format",
        choices=("text", "json", "chrome"),
        help="text: a line for each call with its time line; json: all facts; chrome: for ui.perfetto.dev "
        "and chrome://tracing (default: text on a terminal, else lines with tabs)",
    )
    add_admin_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Trace a get and return the exit code."""
    trace = admin_client(args).get(f"/v1/trace/{parse_key(args.key).hex()}", TraceJson)
    outcome = trace["outcome"]
    if args.format == "chrome":
        print_json(chrome_events(trace))
    elif args.json or args.format == "json":
        print_json(trace if outcome == "found" else {**trace, "error": outcome.replace(" ", "_")})
    elif args.format == "text" or is_terminal():
        print_lines(waterfall(trace))
    else:
        print_lines(_plain_lines(trace))
        if outcome != "found":
            print_status(summary(trace))
    if outcome == "found":
        return DONE
    return NO_NODE if outcome == "not ready" else NOT_DONE


def waterfall(trace: TraceJson) -> list[str]:
    """Draw a trace: one line for each call, with its place in the time of the get."""
    steps, total = trace["steps"], trace["seconds"]
    addresses = [format_address(step["host"], step["port"]) for step in steps]
    width = max([len("ADDRESS"), *map(len, addresses)])
    scale = f"0{f'{milliseconds(total)} ms':>{WATERFALL - 1}}"
    head = f"HOP  {'NODE':<{SHOWN_DIGITS}}  {'ADDRESS':<{width}}  {'OUTCOME':<18}  {'MS':>7}   {scale}"
    rows = [
        f"{step['hop']:>3}  {step['node_id'][:SHOWN_DIGITS]}  {address:<{width}}  {_outcome(step):<18}  "
        f"{milliseconds(_taken(step)):>7}  |{_bar(step, total)}|"
        for step, address in zip(steps, addresses, strict=True)
    ]
    return [f"key {trace['key']}", summary(trace), "", head, *rows] if steps else [summary(trace)]


def summary(trace: TraceJson) -> str:
    """Describe a get in one line."""
    value = ""
    if trace["value_bytes"] is not None:
        value = f": {counted(trace['value_bytes'], 'byte')}, version {trace['version']}"
    calls, hops = len(trace["steps"]), trace["hops"]
    return (
        f"{trace['outcome']}{value}; {milliseconds(trace['seconds'])} ms, {calls} "
        f"call{'s' * (calls != 1)}, {hops} hop{'s' * (hops != 1)}"
    )


def _outcome(step: StepJson) -> str:
    named = step["contacts_named"]
    return f"{step['outcome']}, named {named}" if named else str(step["outcome"])


def _taken(step: StepJson) -> float | None:
    return None if step["ended_at"] is None else step["ended_at"] - step["sent_at"]


def _bar(step: StepJson, total: float) -> str:
    """Draw one call on the time line; one that had not ended goes on to the end."""

    def place(seconds: float) -> int:
        part = seconds / total if total > 0 else 0.0
        return min(max(int(part * WATERFALL), 0), WATERFALL)

    begin = min(place(step["sent_at"]), WATERFALL - 1)
    ended_at = step["ended_at"]
    if ended_at is None:
        return " " * begin + ">".rjust(WATERFALL - begin, "=")
    end = max(place(ended_at), begin + 1)
    return (" " * begin + "=" * (end - begin)).ljust(WATERFALL)


def _plain_lines(trace: TraceJson) -> Iterable[str]:
    """List the calls: hop, node id, address, outcome, milliseconds of its begin and its end, contacts named,
    who named it."""
    for step in trace["steps"]:
        facts: Sequence[object] = (
            step["hop"],
            step["node_id"],
            format_address(step["host"], step["port"]),
            step["outcome"],
            milliseconds(step["sent_at"]),
            milliseconds(step["ended_at"]),
            step["contacts_named"],
            step["named_by"] or "-",
        )
        yield "\t".join(map(str, facts))


def chrome_events(trace: TraceJson) -> dict[str, object]:
    """Return a trace in the Trace Event Format. Calls that overlap get rows of their own."""
    total = trace["seconds"]
    events: list[dict[str, object]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": f"get {trace['key']}"}},
        _span(f"get: {trace['outcome']}", trace["outcome"], 0, 0.0, total, {"hops": trace["hops"]}),
    ]
    free_at: list[float] = []
    for step in sorted(trace["steps"], key=lambda step: float(step["sent_at"])):
        begin = step["sent_at"]
        end = total if step["ended_at"] is None else step["ended_at"]
        row = next((n for n, free in enumerate(free_at) if free <= begin), len(free_at))
        free_at[row : row + 1] = [end]
        name = f"hop {step['hop']}: {format_address(step['host'], step['port'])}"
        events.append(_span(name, step["outcome"], row + 1, begin, end, dict(step)))
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _span(
    name: str, category: str, row: int, begin: float, end: float, facts: Mapping[str, object]
) -> dict[str, object]:
    """Return one event with a begin and an end, in microseconds."""
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": 1,
        "tid": row,
        "ts": round(begin * 1e6),
        "dur": max(round((end - begin) * 1e6), 1),
        "args": dict(facts),
    }
