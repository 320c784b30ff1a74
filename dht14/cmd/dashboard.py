"""`dht14 dashboard`: the link to the page of a node, with the token that the page needs.

The token is in the fragment of the link, which no browser sends anywhere. A node that has only its socket
cannot be reached by a browser: then this command serves the page itself until Ctrl-C.
"""

import argparse
import html
import os
import secrets
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from dht14.client.address import format_address
from dht14.cmd.admin_client import AdminClient, add_admin_arguments, admin_client
from dht14.cmd.command_error import DONE, WRONG_USAGE, CommandError
from dht14.cmd.dashboard_server import DashboardServer
from dht14.cmd.output import print_bytes, print_json, print_status
from dht14.cmd.parser import whole_number
from dht14.net.admin.access import TOKEN_BYTES
from dht14.net.admin.view import RecordsJson, StatusJson

LOADING_TIME = 10.0
"""Seconds that a browser has to load the file with the link, before this command removes it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dht14 dashboard`."""
    parser.description = (
        "Print the link to the dashboard of a node. The link has the token of the node: do not pass it on. "
        "If the node has only its socket, which is the default, the command serves the page at a port of "
        "127.0.0.1 with a token of its own, until Ctrl-C."
    )
    parser.add_argument("--open", action="store_true", help="open the link in a browser")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=whole_number(65_535, least=1),
        help="port of 127.0.0.1 for the page of a node that has only its socket (default: one that is free)",
    )
    add_admin_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the link, serve the page if need be, and return the exit code."""
    client = admin_client(args)
    if client.address is not None:
        if args.port is not None:
            raise CommandError(
                WRONG_USAGE, f"--port is for a node with a socket; this one listens at {client.place}"
            )
        return _point_to(client, args)
    client.get("/v1/status", StatusJson)
    return _serve(client, args)


def _point_to(client: AdminClient, args: argparse.Namespace) -> int:
    try:
        # Needs the token: with a wrong one the page would show nothing.
        client.get("/v1/records", RecordsJson, limit=1)
    except CommandError as refused:
        if refused.error != "not_ready":
            raise
    link = _link(client.place, client.token() or "")
    _show(link, args)
    if args.open:
        with _open(link):
            time.sleep(LOADING_TIME)
    return DONE


def _serve(client: AdminClient, args: argparse.Namespace) -> int:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        server = DashboardServer(client, token, args.port or 0)
    except OSError as error:
        raise CommandError(
            WRONG_USAGE, f"cannot listen on 127.0.0.1 port {args.port or 0}: {error.strerror}"
        ) from None
    link = _link(format_address(*server.at), token)
    with suppress(KeyboardInterrupt), server:
        print_status("Serving the page of the node until Ctrl-C.")
        _show(link, args)
        with _open(link) if args.open else nullcontext():
            server.serve_forever()
    return DONE


def _link(place: str, token: str) -> str:
    return f"http://{place}/#token={token}"


def _show(link: str, args: argparse.Namespace) -> None:
    if args.json:
        print_json({"url": link})
    else:
        print_bytes(link.encode() + b"\n")


@contextmanager
def _open(link: str) -> Iterator[None]:
    """Open the link in a browser, through a file that exists for a `with` block.

    Every user of this host can read the arguments of a browser; the token must not be among them. Only this
    user can read the file.
    """
    handle, path = tempfile.mkstemp(".html", "dht14-")
    try:
        target = html.escape(link)
        with os.fdopen(handle, "w") as file:
            file.write(
                f'<!doctype html><title>DHT-14</title><meta name="referrer" content="no-referrer">'
                f'<meta http-equiv="refresh" content="0; url={target}"><a href="{target}">Dashboard</a>\n'
            )
        if not webbrowser.open(f"file://{path}"):
            print_status("dht14: no browser was found; open the link yourself")
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
