"""The HTTP server of the admin surface: the tree of its pages, and the limits of its connections."""

from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.access import AccessRules
from dht14.net.admin.asked import ParseKey
from dht14.net.admin.endpoint import (
    AdminResource,
    Answer,
    Endpoint,
    HttpError,
    OperationLimit,
    check_sender,
    error_answer,
    failure_answer,
    no_such_page,
)
from dht14.net.admin.exposition import Exposition, Samples
from dht14.net.admin.files import FileTransfers, IncomingFile
from dht14.net.admin.pages import Pages, SetLogLevel
from dht14.net.admin.streams import EventStream
from dht14.net.admin.view import NodeView
from dht14.net.admin.walks import WalkStream
from dht14.net.admin.watch_stream import WatchStream

MAX_CONNECTIONS = 64
FILES_PATH = b"/v1/files"
IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed; also what a whole request may take."""


_TOO_LONG = error_answer(
    HttpError(413, f"the body has more than {MAX_VALUE:,} bytes", "PUT /v1/files takes files of any size.")
)


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
    files = FileTransfers(parts.view, rules, parts.clock)
    site = _AdminSite(
        _tree(parts, rules, files),
        requestFactory=_LimitedRequest,
        timeout=IDLE_TIMEOUT,
        reactor=parts.clock,
    )
    site.files = files
    return ConnectionLimit(site)


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
    files: FileTransfers

    def log(self, request: HttpRequest) -> None:
        """Write no access log: paths name keys."""


class _LimitedRequest(Request):
    """A request whose body has at most `MAX_VALUE` bytes, unless it is a file. One with more is answered at
    once, and not read."""

    incoming: IncomingFile | None = None
    _received = 0
    _is_refused = False
    _is_complete = False

    def gotLength(self, length: int | None) -> None:
        """The length of the body is known: refuse one that is too long, and begin to store a file."""
        channel: Any = self.channel
        if channel._command == b"PUT" and channel._path.partition(b"?")[0] == FILES_PATH:
            super().gotLength(0)
            try:
                self.incoming = channel.site.files.begin(self, channel._path)
            except HttpError as refused:
                self._refuse(error_answer(refused))
            else:
                self.incoming.stored.addErrback(self._not_stored)
            return
        super().gotLength(length)
        if length is not None and length > MAX_VALUE:
            self._refuse(_TOO_LONG)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, unless the body grows too long."""
        self._received += len(data)
        if self._is_refused:
            return
        if self.incoming is not None:
            self.incoming.received(data)
        elif self._received > MAX_VALUE:
            self._refuse(_TOO_LONG)
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the request, unless it was refused."""
        self._is_complete = True
        if self._is_refused:
            return
        if self.incoming is not None:
            self.incoming.ended()
        super().requestReceived(command, path, version)

    def connectionLost(self, reason: Failure) -> None:
        """Give up what the client has not sent completely."""
        if self.incoming is not None:
            self.incoming.lost()
        super().connectionLost(reason)

    def _not_stored(self, failure: Failure) -> Failure | None:
        """A file that has not come completely cannot be stored: nothing more of it needs to come."""
        if self._is_complete:
            return failure
        if not failure.check(CancelledError):
            self._refuse(failure_answer(failure, FileTransfers.log))
        return None

    def _refuse(self, answer: Answer) -> None:
        channel: Any = self.channel
        if self._is_refused or channel is None or channel.transport is None:
            return
        self._is_refused = True
        headers = {
            "Connection": "close",
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        phrase = RESPONSES.get(answer.status, b"").decode()
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        channel.transport.write(f"HTTP/1.1 {answer.status} {phrase}\r\n{head}\r\n".encode() + answer.body)
        channel.transport.loseConnection()


class _Branch(AdminResource):
    """A path with others below it, and no page of its own."""

    isLeaf = False

    def __init__(self, rules: AccessRules) -> None:
        super().__init__()
        self._rules = rules

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Find no page."""
        return self

    def respond(self, request: Request) -> None:
        """Refuse: there is no page."""
        check_sender(request, self._rules)
        raise no_such_page()


def _tree(parts: AdminParts, rules: AccessRules, files: FileTransfers) -> Resource:
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
    v1.putChild(b"files", files)
    v1.putChild(b"nodes", WalkStream(parts.view, rules, parts.clock))
    return root
