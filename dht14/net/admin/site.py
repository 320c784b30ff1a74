"""The HTTP server of the admin surface: the tree of its pages, and the limits of its connections."""

from attrs import frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.access import AccessRules
from dht14.net.admin.endpoint import (
    Endpoint,
    HttpError,
    OperationLimit,
    check_sender,
    error_answer,
    write,
)
from dht14.net.admin.exposition import Exposition, Samples
from dht14.net.admin.pages import Pages, ParseKey, SetLogLevel
from dht14.net.admin.streams import EventStream
from dht14.net.admin.view import NodeView
from dht14.net.admin.watch_stream import WatchStream

MAX_CONNECTIONS = 64
IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed; also what a whole request may take."""


@frozen(kw_only=True)
class AdminParts:
    """What an admin site is made of."""

    view: NodeView
    samples: Samples
    version: str
    parse_key: ParseKey
    set_log_level: SetLogLevel
    clock: IReactorTime


def admin_factory(parts: AdminParts, rules: AccessRules) -> "ConnectionLimit":
    """Return the factory of one listener."""
    return ConnectionLimit(
        _AdminSite(
            _tree(parts, rules), requestFactory=_LimitedRequest, timeout=IDLE_TIMEOUT, reactor=parts.clock
        )
    )


class ConnectionLimit(WrappingFactory):
    """Refuses connections while `MAX_CONNECTIONS` are open."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        return super().buildProtocol(addr) if len(self.protocols) < MAX_CONNECTIONS else None

    def abort_all(self) -> None:
        """Cut all connections."""
        for connection in list(self.protocols):
            connection.transport.abortConnection()


class _AdminSite(Site):
    displayTracebacks = False
    noisy = False

    def log(self, request: HttpRequest) -> None:
        """Write no access log: paths name keys."""


class _LimitedRequest(Request):
    """A request whose body has at most `MAX_VALUE` bytes. One with more is answered at once, and not read."""

    _received = 0
    _too_long = False

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that says that it is too long."""
        super().gotLength(length)
        if length is not None and length > MAX_VALUE:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, unless the body grows too long."""
        self._received += len(data)
        if self._received > MAX_VALUE:
            self._refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the request, unless it was refused."""
        if not self._too_long:
            super().requestReceived(command, path, version)

    def _refuse(self) -> None:
        if not self._too_long and self.channel is not None and self.channel.transport is not None:
            self._too_long = True
            self.channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self.channel.transport.loseConnection()


class _Branch(Resource):
    """A path with others below it, and no page of its own."""

    def __init__(self, rules: AccessRules) -> None:
        super().__init__()
        self._rules = rules

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Find no page."""
        return self

    def render(self, request: Request) -> int:
        """Answer that there is no page."""
        try:
            check_sender(request, self._rules)
            raise HttpError(404, "no such page", "GET /openapi.json lists all pages.")
        except HttpError as refused:
            write(request, error_answer(refused))
        return NOT_DONE_YET


def _tree(parts: AdminParts, rules: AccessRules) -> Resource:
    limit = OperationLimit()
    exposition = Exposition(parts.samples, parts.version)
    pages = Pages(parts.view, exposition, parts.parse_key, parts.set_log_level, parts.clock.seconds)
    root, v1 = _Branch(rules), _Branch(rules)
    root.putChild(b"v1", v1)
    for path, methods in pages.routes().items():
        branch, name = (v1, path[3:]) if path.startswith("v1/") else (root, path)
        branch.putChild(name.encode(), Endpoint(methods, rules, limit))
    v1.putChild(b"events", EventStream(parts.view, rules, parts.clock))
    v1.putChild(b"watch", WatchStream(parts.view, rules, parts.clock, parts.parse_key))
    return root
