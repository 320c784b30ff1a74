"""The listener of the admin surface of a real node: a Unix socket in its data directory, or a TCP port."""

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from dht14 import __version__
from dht14.app.admin_files import SOCKET_NAME, TOKEN_NAME, PathTooLong, socket_address
from dht14.app.data_dir import DataDir, replace_file, unusable_error
from dht14.app.node_view import RealNodeView
from dht14.app.options import AdminSocket, NodeSettings
from dht14.client.address import format_address
from dht14.client.keys import key_of
from dht14.errors import AddressUnavailable
from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.listen import listen_tcp

if TYPE_CHECKING:
    from dht14.net.admin.site import ConnectionLimit

_log = Logger()


@frozen
class AdminPort:
    """The listener, and where it is reached."""

    url: str
    """`unix:PATH`, or `http://HOST:PORT/`."""
    _listener: Any
    _factory: "ConnectionLimit"
    _held: ExitStack
    """What its address needs, and the file of the socket."""

    async def close(self) -> None:
        """Accept no more clients, and cut the connections: the database closes soon."""
        await maybeDeferred(self._listener.stopListening)
        self._factory.abort_all()
        self._held.close()


def bind_admin(
    settings: NodeSettings,
    data_dir: DataDir,
    view: RealNodeView,
    set_log_level: Callable[[str], None],
    reactor: Any,
) -> AdminPort | None:
    """Bind the listener of `[node] admin_address`; None if that is `none`.

    Raises `AddressUnavailable`, or `ConfigError` if the token cannot be written.
    """
    _remove_socket(data_dir.file(SOCKET_NAME))
    if settings.admin_address is AdminSocket.NONE:
        return None
    # A node without an admin surface needs nothing of twisted.web.
    from dht14.net.admin.access import AccessRules
    from dht14.net.admin.site import AdminParts, admin_factory

    parts = AdminParts(
        view=view,
        samples=view.samples,
        version=__version__,
        parse_key=lambda text: id_from_bytes(key_of(text)),
        set_log_level=set_log_level,
        clock=reactor,
    )
    if settings.admin_address is AdminSocket.UNIX:
        return _bind_socket(data_dir.file(SOCKET_NAME), admin_factory(parts, AccessRules(None)), reactor)
    assert not isinstance(settings.admin_address, AdminSocket)
    rules = AccessRules(admin_token(data_dir), settings.admin_hosts)
    factory = admin_factory(parts, rules)
    listener = listen_tcp("admin_address", settings.admin_address, factory, reactor)
    bound = listener.getHost()
    place = format_address(bound.host, bound.port)
    return AdminPort(f"http://{place}/", listener, factory, ExitStack())


def _bind_socket(path: str, factory: "ConnectionLimit", reactor: Any) -> AdminPort | None:
    held = ExitStack()
    try:
        address = held.enter_context(socket_address(path))
    except PathTooLong:
        _log.warn(
            "No admin surface: the path {path} is too long for a Unix socket. Set [node] admin_address to "
            "HOST:PORT, or give the node a data directory with a shorter path.",
            event="admin.path_too_long",
            path=path,
        )
        return None
    try:
        listener = reactor.listenUNIX(address, factory, mode=0o600)
    except CannotListenError as error:
        held.close()
        factory.doStop()  # Twisted has started it before it bound the path.
        reason = getattr(error.socketError, "strerror", None) or os.strerror(errno.EADDRINUSE)
        raise AddressUnavailable(
            f"[node] admin_address: cannot listen on {path} ({reason}); remove it, or set admin_address to "
            "HOST:PORT or none"
        ) from None
    held.callback(_remove_socket, path)
    return AdminPort(f"unix:{path}", listener, factory, held)


def _remove_socket(path: str) -> None:
    """Remove the socket, at the end or where a killed node left it. This process has locked the directory.

    A socket that is left tells commands that no node runs here, even if one listens elsewhere.
    """
    with suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


def admin_token(data_dir: DataDir) -> str:
    """Return the token of a node; make it if there is none. Raises `ConfigError`."""
    try:
        token = (data_dir.read(TOKEN_NAME) or b"").decode("ascii", "replace").strip()
        if not token:
            token = secrets.token_urlsafe(32)
            # Flushed: a power cut could leave as many zero bytes, which anyone can guess.
            replace_file(data_dir.file(TOKEN_NAME), f"{token}\n".encode(), durable=True)
    except OSError as error:
        raise unusable_error(data_dir.path, error) from None
    return token
