"""Speaks HTTP to the admin surface of a node: over its Unix socket, or over TCP with its token."""

import argparse
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, RemoteDisconnected
from typing import Any, TypeVar, get_args, get_origin, get_type_hints, is_typeddict
from urllib.parse import urlencode

from attrs import frozen

from dht14.app.admin_files import SOCKET_NAME, TOKEN_NAME, PathTooLong, socket_address
from dht14.app.options import AdminSocket
from dht14.app.state_file import read_state
from dht14.client.address import format_address, parse_address, problem_of
from dht14.cmd.command_error import NO_NODE, NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.node_arguments import (
    ROLES,
    add_config_argument,
    add_role_argument,
    add_surface_arguments,
    connectable_address,
    node_settings,
)
from dht14.cmd.parser import add_json_argument
from dht14.kademlia.contact import Address

T = TypeVar("T")

TIMEOUT = 15.0
"""Seconds without a byte. A node ends a traced get after 5 s, whatever its peers do."""

MAX_ANSWER = 1 << 26
"""Bytes of an answer. A page of a thousand records, or a thousand contacts, has less than one MiB."""

MAX_TOKEN_BYTES = 1_024

_CLOSED = "the node has ended, or that is no admin surface; see the log of the node"
_TOKEN_CURE = f"give --data-dir with its data directory, or --token-file with a copy of its {TOKEN_NAME}"

_CODES = {
    400: WRONG_USAGE,
    404: NOT_DONE,
    409: NOT_DONE,
    410: NOT_DONE,
    422: NOT_DONE,
    504: NOT_DONE,
    507: NOT_DONE,
}
_WORDS = {
    400: "wrong_usage",
    404: "not_found",
    409: "refused",
    410: "deleted",
    422: "not_authentic",
    429: "busy",
    503: "not_ready",
    504: "unanswered",
    507: "no_room",
}


_HINTS = {
    "See /readyz.": "dht14 status says what it waits for",
    "See /readyz, and the log.": "dht14 status says what it waits for, and the log why",
    "GET /v1/kept lists what is.": "dht14 kept lists what is",
}
"""Of the hints of a node, which name pages, those that a command can answer with: they name commands."""


def add_admin_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that looks into a node."""
    parser.epilog = (
        "The node is found as the node finds its own directory and addresses: options, environment, "
        "configuration file, defaults. Exit codes: 0 done, 1 not found, 2 wrong usage, 3 no node, or one "
        "without an admin surface, 78 wrong configuration."
    )
    add_config_argument(parser)
    add_role_argument(parser)
    add_surface_arguments(parser)
    add_json_argument(parser)


class UnixHttpConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with socket_address(self._path) as address:
            self.sock.connect(address)


@frozen
class AdminClient:
    """The admin surface of one node. All methods raise `CommandError`."""

    data_dir: str
    address: Address | None
    """None: it is the socket in the data directory."""
    token_file: str | None = None
    timeout: float = TIMEOUT

    @property
    def socket_path(self) -> str:
        """The path of the socket."""
        return os.path.join(self.data_dir, SOCKET_NAME)

    @property
    def place(self) -> str:
        """Where the surface is, for people."""
        return self.socket_path if self.address is None else format_address(*self.address)

    def get(self, path: str, shape: type[T], **parameters: object) -> T:
        """Return the JSON document at a path. `shape` is a `TypedDict` that says what must be in it."""
        return self.send("GET", path, shape, b"", **parameters)

    def send(self, method: str, path: str, shape: type[T], body: bytes = b"", **parameters: object) -> T:
        """Send a request of this method with a body and return the JSON document that is the answer."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        with self.open(method, path + query, body=body) as response:
            self.check(response)
            answer = response.read(MAX_ANSWER)
        try:
            document: T = json.loads(answer)
        except ValueError:
            raise self.stranger() from None
        if not has_shape(document, shape):
            raise self.stranger()
        return document

    @contextmanager
    def open(
        self, method: str, path: str, accept: str = "application/json", body: bytes = b""
    ) -> Iterator[HTTPResponse]:
        """Send a request and return the response, for a `with` block.

        What goes wrong inside of the block with the connection is a `CommandError` as well.
        """
        headers = {"Accept": accept}
        if self.address is not None and (token := self.token()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = self.connection()
        try:
            connection.request(method, path, body or None, headers)
            yield connection.getresponse()
        except PathTooLong:
            raise CommandError(
                NO_NODE,
                f"{self.socket_path} is too long for a Unix socket: this node has no admin surface. Give it "
                "a data directory with a shorter path, or set [node] admin_address to HOST:PORT",
                "no_admin_surface",
            ) from None
        except TimeoutError:
            raise self._silent(f"did not answer within {self.timeout:.3g} s") from None
        except BlockingIOError:
            # Only a Unix socket says that: more connections wait there than its node has accepted.
            raise self._silent("accepts no connection") from None
        except RemoteDisconnected:
            raise CommandError(
                NO_NODE, f"the connection to {self.place} was closed before an answer came: {_CLOSED}"
            ) from None
        except HTTPException:
            raise self.stranger() from None
        except OSError as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def silence(self) -> str:
        """Return why the process of the node does not answer; "" if it does, or if no surface can tell."""
        try:
            with self.open("GET", "/healthz"):
                return ""
        except CommandError as error:
            return str(error) if error.error == "no_node" else ""

    def check(self, response: HTTPResponse) -> None:
        """Do nothing if the node has answered; raise its refusal else."""
        if response.status != 200:
            raise self._refusal(response.status, response.read(MAX_ANSWER))

    def connection(self) -> HTTPConnection:
        """Return a connection that is not open yet."""
        if self.address is not None:
            return HTTPConnection(*self.address, timeout=self.timeout)
        return UnixHttpConnection(self.socket_path, self.timeout)

    def token(self) -> str | None:
        """Return the token of the node; None if there is no file of it in the data directory."""
        path = self.token_file or os.path.join(self.data_dir, TOKEN_NAME)
        try:
            with open(path, "rb") as file:
                token = file.read(MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
        except OSError as error:
            if self.token_file is None:
                return None
            raise CommandError.of_file("--token-file", "read", path, error, _TOKEN_CURE, "token") from None
        if not token or not token.isascii() or not token.isprintable():
            which = "--token-file: " if self.token_file else ""
            raise CommandError(WRONG_USAGE, f"{which}there is no token in {path!r}; {_TOKEN_CURE}", "token")
        return token

    def _refusal(self, status: int, body: bytes) -> CommandError:
        """Make the error of a request that the node refused."""
        try:
            content = json.loads(body)
            why, hint = str(content["error"]), str(content["hint"])
        except (ValueError, KeyError, TypeError):
            return self.stranger()
        if status == 401:
            return self._token_error()
        line = f"{why}; {_HINTS[hint]}" if hint in _HINTS else f"{why}. {hint}" if hint else why
        if status == 403 or status not in _WORDS:
            line = f"the node at {self.place} refused: {line}"
        return CommandError(_CODES.get(status, NO_NODE), line, _WORDS.get(status, "refused"))

    def _token_error(self) -> CommandError:
        if self.token() is None:
            path = os.path.join(self.data_dir, TOKEN_NAME)
            what = (
                f"the node at {self.place} asks for its token, and there is none that can be read at {path}"
            )
        else:
            what = f"the node at {self.place} has another token"
        return CommandError(NO_NODE, f"{what}; {_TOKEN_CURE}", "token")

    def stranger(self) -> CommandError:
        """Make the error about an answer that a node would not give."""
        return CommandError(
            NO_NODE,
            f"what answers at {self.place} is not the admin surface of a node, or of another version; check "
            "--admin-address",
            "no_admin_surface",
        )

    def _silent(self, what: str) -> CommandError:
        return CommandError(
            NO_NODE, f"the node at {self.place} {what}: it is suspended or overloaded; see its log"
        )

    def _unreachable(self, error: OSError) -> CommandError:
        reason = problem_of(error)
        if self.address is not None:
            return CommandError(
                NO_NODE,
                f"no admin surface at {self.place}: {reason}; a node listens there if its [node] "
                "admin_address says so",
            )
        if error.errno == errno.EACCES:
            return CommandError(
                NO_NODE, f"{self.socket_path}: {reason}; run this as the user of the node, or as root"
            )
        # A socket that refuses was left by a node that was killed, even if another process has its number.
        if error.errno == errno.ECONNREFUSED or read_state(self.data_dir) is None:
            return CommandError(
                NO_NODE, f"no node runs in {self.data_dir}; name its directory with --data-dir or --config"
            )
        return CommandError(
            NO_NODE,
            f"the node in {self.data_dir} has no socket {SOCKET_NAME}; if its [node] admin_address is "
            "HOST:PORT, give it as --admin-address; if it is none, the node has no admin surface",
            "no_admin_surface",
        )


def has_shape(document: object, shape: Any) -> bool:
    """Whether a document has all fields of a `TypedDict`, also in the lists in it."""
    if not isinstance(document, dict) or not shape.__required_keys__ <= document.keys():
        return False
    for name, kind in get_type_hints(shape).items():
        if get_origin(kind) is list:
            (item,) = get_args(kind)
            members = document[name]
            if not isinstance(members, list):
                return False
            if is_typeddict(item) and not all(has_shape(member, item) for member in members):
                return False
    return True


def admin_client(args: argparse.Namespace) -> AdminClient:
    """Find the admin surface as the node does. Raises `ConfigError`, or `CommandError` if there is none."""
    given = {"admin_address": args.admin_address, "data_dir": args.data_dir}
    node = node_settings(getattr(args, "role", ROLES[0]), args.config, given)
    if node.admin_address is AdminSocket.NONE:
        raise CommandError(
            NO_NODE,
            "[node] admin_address is none: this node has no admin surface; set it to unix or HOST:PORT and "
            "restart the node",
            "no_admin_surface",
        )
    if isinstance(node.admin_address, AdminSocket):
        return running_node(node.data_dir, args.token_file)
    return AdminClient(node.data_dir, connectable_address(node.admin_address), args.token_file)


def running_node(data_dir: str, token_file: str | None = None, timeout: float = TIMEOUT) -> AdminClient:
    """Return the admin surface of the node that runs in a data directory.

    That is at the HOST:PORT that the node was given, perhaps by options that this command has not; else at
    the socket.
    """
    state = read_state(data_dir)
    address = None
    with suppress(ValueError):
        if state is not None and state.admin is not None:
            address = connectable_address(parse_address(state.admin))
    return AdminClient(data_dir, address, token_file, timeout)
