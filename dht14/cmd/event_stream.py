"""Reads a stream of server-sent events of a node."""

import json
from collections.abc import Iterator
from typing import Any

from dht14.cmd.admin_client import AdminClient

MAX_EVENT = 1 << 24
"""Bytes of one event: the list of all contacts is one."""


def events(client: AdminClient, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each event as its kind and its JSON document, until the node ends the stream. Raises
    `CommandError`."""
    kind = ""
    with client.open("GET", path, "text/event-stream") as response:
        client.check(response)
        while line := response.readline(MAX_EVENT):
            name, _, text = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
            if name == "event":
                kind = text
            elif name == "data":
                try:
                    yield kind, json.loads(text)
                except ValueError:
                    raise client.stranger() from None
