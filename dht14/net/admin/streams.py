"""Server-sent events: a response that goes on for as long as the client listens."""

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from dht14.net.admin.access import AccessRules
from dht14.net.admin.endpoint import HttpError, check_sender, error_answer, header, write
from dht14.net.admin.pages import event
from dht14.net.admin.view import NodeView

MAX_LISTENERS = 16
"""Clients that listen at once. The next one gets 429."""

MAX_BUFFER = 1 << 20
"""Bytes that may wait for a client that reads too slowly, before it is disconnected."""


class EventStream(Resource):
    """`/v1/events`: what happens in the node, as it happens."""

    log = Logger()
    isLeaf = True

    def __init__(self, view: NodeView, rules: AccessRules, clock: IReactorTime) -> None:
        super().__init__()
        self._view = view
        self._rules = rules
        self._clock = clock
        self.listeners = 0

    def render(self, request: Request) -> int:
        """Begin to send events."""
        try:
            self._admit(request)
        except HttpError as refused:
            write(request, error_answer(refused))
            return NOT_DONE_YET
        self.listeners += 1
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if request.channel is not None:
            request.channel.setTimeout(None)
        request.write(b": connected\n\n")
        sending = Deferred.fromCoroutine(self._send(request, self._view.events()))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        sending.addBoth(self._ended, request)
        return NOT_DONE_YET

    def _admit(self, request: Request) -> None:
        check_sender(request, self._rules)
        if request.method != b"GET":
            raise HttpError(405, "only GET is possible here", headers={"Allow": "GET"})
        if not self._rules.accepts_token(header(request, b"authorization")):
            raise HttpError(
                401, "the token is missing or wrong", "Events name keys.", {"WWW-Authenticate": "Bearer"}
            )
        if request.args:
            raise HttpError(400, "events take no parameters")
        if self.listeners >= MAX_LISTENERS:
            raise HttpError(429, f"{MAX_LISTENERS} clients listen already", headers={"Retry-After": "5"})

    async def _send(self, request: Request, events: AsyncIterator[tuple[str, dict[str, Any]]]) -> None:
        async for kind, content in events:
            request.write(event(kind, content))

    def _ended(self, result: object, request: Request) -> None:
        self.listeners -= 1
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("An event stream failed; this is a bug.", result)
        if not request.finished and not request._disconnected:
            request.finish()
