"""`dht14 kept`: the values that a node renews, and what `keep` and `put --keep` share with it."""

import argparse
import ipaddress
import json
import os
import socket
from collections.abc import Iterator, Sequence
from typing import TypedDict

from dht14.client.address import format_address, parse_address
from dht14.client.blocking import Client
from dht14.client.errors import DhtError
from dht14.client.file_values import StoredFile
from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client
from dht14.cmd.command_error import NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.node_arguments import api_address
from dht14.cmd.pages import add_limit_argument, pages_of, print_pages
from dht14.cmd.progress import duration
from dht14.cmd.table import Cell, Column, ago, byte_size, until
from dht14.kademlia.contact import Address
from dht14.net.admin.view import KeptPageJson, KeptValueJson, StatusJson
from dht14.records.receipt import PutOutcome, Receipt

KEYS_AT_ONCE = 32
"""Keys in one request. The node looks for 16 of them at once, for 5 s at the most; a command waits 15 s."""

_COLUMNS = (
    Column("key", 64),
    Column("kind", 7),
    Column("bytes", 5, right=True),
    Column("version", 20, right=True),
    Column("copies", right=True),
    Column("lives for", right=True),
    Column("renewed", right=True),
    Column("due in", right=True),
    Column("expires in", right=True),
    Column("kept by"),
    Column("state"),
)


class UnkeptJson(TypedDict):
    """The answer of a DELETE of `/v1/kept/KEY`."""

    key: str
    by: list[str]
    """What still keeps the value."""


class RefusedKeyJson(TypedDict):
    """A key that a node does not keep, and why."""

    key: str
    error: str


class KeptManyJson(TypedDict):
    """The answer of a POST to `/v1/kept`."""

    kept: int
    refused: list[RefusedKeyJson]


# The node that keeps


def keeping_client(args: argparse.Namespace) -> AdminClient:
    """Find the admin surface of the node that keeps values.

    An API that was named by its address alone says nothing about where the surface of its node is: that is
    sought in the default place, where another node of this host may be. Raises `CommandError` then.
    """
    client = admin_client(args)
    is_named = args.api_address is not None or "DHT14_NODE_API_ADDRESS" in os.environ
    if is_named and args.data_dir is None and args.admin_address is None:
        asked = api_address(args)
        listening = client.get("/v1/status", StatusJson)["api_address"]
        if listening is None or not _is_same(asked, parse_address(listening)):
            has = "no API" if listening is None else f"its API at {listening}"
            raise CommandError(
                WRONG_USAGE,
                f"the node at {client.place} would keep the value, but it has {has}, not at "
                f"{format_address(*asked)}; say with --data-dir (or --admin-address) which node keeps",
            )
    return client


def _is_same(asked: Address, listening: Address) -> bool:
    """Whether who connects to `asked` reaches what listens at `listening` on this host."""
    if asked[1] != listening[1]:
        return False
    hosts = _ip_addresses(asked[0])
    bound = _ip_addresses(listening[0])
    if any(ipaddress.ip_address(host).is_unspecified for host in bound):
        return any(map(_is_of_this_host, hosts))
    return bool(hosts & bound)


def _ip_addresses(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(address[0]).partition("%")[0] for *_, address in found}


def _is_of_this_host(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


# For put --keep


def keeping_node(args: argparse.Namespace) -> AdminClient:
    """Find the node that is to keep what a put stores, before anything is put. Raises `CommandError`."""
    client = keeping_client(args)
    client.get("/v1/kept", KeptPageJson, limit=1)
    return client


def keep_value(
    client: AdminClient, key: bytes, value: bytes, version: int | None, ttl: int, replication: int
) -> KeptValueJson:
    """Let a node keep a value that was just put. Raises `CommandError`.

    `version`: that of the receipt; None from a node that gives none.
    """
    known = {} if version is None else {"version": version}
    path = f"/v1/kept/{key.hex()}"
    return client.send("PUT", path, KeptValueJson, value, ttl=ttl, replication=replication, **known)


def keep_put(
    client: AdminClient, key: bytes, value: bytes, receipt: Receipt | bool, args: argparse.Namespace
) -> KeptValueJson:
    """Let a node keep what `dht14 put` has just stored. Raises `CommandError` with that fact."""
    version = receipt.version if isinstance(receipt, Receipt) else None
    try:
        if isinstance(receipt, Receipt) and receipt.outcome is PutOutcome.SUPERSEDED:
            raise CommandError(NOT_DONE, "a later write of this key has won", "superseded")
        return keep_value(client, key, value, version, args.ttl, args.replication)
    except CommandError as error:
        raise _only_stored(error) from None


def _only_stored(error: CommandError) -> CommandError:
    text = f"stored, but not kept: {error}"
    return CommandError(error.code, text, error.error, stored=True, kept=False)


def keep_keys(
    client: AdminClient, keys: Sequence[bytes], ttl: int, replication: int
) -> Iterator[RefusedKeyJson]:
    """Let a node keep a file. The first of the keys is its address; each other one follows one that names it.

    Yield those that are not kept. Raises `CommandError`.
    """
    batches = [keys[first : first + KEYS_AT_ONCE] for first in range(1, len(keys), KEYS_AT_ONCE)]
    for by, batch in (("file", keys[:1]), *(("part", batch) for batch in batches)):
        body = json.dumps({"keys": [key.hex() for key in batch]})
        answer = client.send(
            "POST", "/v1/kept", KeptManyJson, body.encode(), ttl=ttl, replication=replication, by=by
        )
        refused = answer["refused"]
        if by == "file" and refused:  # Without its address nothing of it stays.
            refused = [RefusedKeyJson(key=key.hex(), error=refused[0]["error"]) for key in keys]
        yield from refused
        if len(refused) == len(keys):
            return


def keep_file(
    client: AdminClient, api: Client, file: StoredFile, args: argparse.Namespace
) -> dict[str, object]:
    """Let a node keep all pieces and manifests of a file that was just put. Raises `CommandError`."""
    try:
        _keep_file(client, api, file, args)
    except CommandError as error:
        raise _only_stored(error) from None
    return {"kept": True}


def _keep_file(client: AdminClient, api: Client, file: StoredFile, args: argparse.Namespace) -> None:
    limit = client.get("/v1/kept", KeptPageJson, limit=1)["limit"]
    if file.size > limit:
        text = f"[storage] kept_limit of the node is {byte_size(limit)}; raise it"
        raise CommandError(NOT_DONE, text, "no_room")
    try:
        keys = api.file_keys(file.address)
    except DhtError as error:
        raise CommandError(NOT_DONE, str(error), "not_kept") from None
    if keys is None:
        raise CommandError(NOT_DONE, "the file is not found", "not_found")
    refused = list(keep_keys(client, keys, args.ttl, args.replication))
    if refused:
        text = f"pieces that are not: {len(refused):,} of {len(keys):,}; {refused[0]['error']}"
        raise CommandError(NOT_DONE, text, "not_kept")


def kept_line(kept: KeptValueJson) -> str:
    """Say that a value is kept."""
    return f"kept: renewed in {duration(max(kept['due_in'], 0.0))}, for {duration(kept['ttl'])} each time"


# kept


def add_kept_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 kept`."""
    parser.description = (
        "List the values that a node renews, and those that it has stopped to renew because others replaced "
        "them or their owners deleted them. They are kept by their key, as the address of a file, or as a "
        "part of one. The last column says why a renewal failed."
    )
    add_limit_argument(parser)
    add_admin_arguments(parser)


def run_kept(args: argparse.Namespace) -> int:
    """List the kept values of a node and return the exit code."""
    pages = pages_of(admin_client(args), "/v1/kept", KeptPageJson, "values", args.limit)
    return print_pages(pages, "values", _COLUMNS, _row, as_json=args.json)


def _row(value: KeptValueJson) -> Sequence[Cell]:
    is_renewed = value["state"] == "renewed"
    return (
        Cell.of(value["key"]),
        Cell.of(value["kind"]),
        Cell.of(value["bytes"]),
        Cell.of(value["version"]),
        Cell.of(value["replication"]),
        Cell(duration(value["ttl"]), str(value["ttl"])),
        ago(value["renewed"]),
        until(value["due_in"] if is_renewed else None),
        until(value["expires_in"] if is_renewed else None),
        Cell.of("+".join(value["by"])),
        Cell.of(_state(value)),
    )


def _state(value: KeptValueJson) -> str:
    if value["failure"] is not None:
        return f"failing: {value['failure']}"
    return value["state"]
