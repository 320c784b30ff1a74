"""One endpoint of the admin surface: checks a request once, at the border, and answers with JSON or bytes."""

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from dht14.net.admin.access import AccessRules
from dht14.net.admin.view import NotStarted

TOKEN_HINT = "Send 'Authorization: Bearer TOKEN' with the content of admin.token in the data directory."

MAX_OPERATIONS = 32
"""Operations under way at once that cost other nodes something. The next one gets 429."""


class HttpError(Exception):
    """A request that is refused: its status, what is wrong, and what to do about it."""

    def __init__(
        self, status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status, self.error, self.hint = status, error, hint
        self.headers = dict(headers or {})


@frozen
class AdminCall:
    """One request that has passed the border."""

    segments: tuple[str, ...]
    """Of the path, behind that of the endpoint."""
    parameters: Mapping[str, str]
    body: bytes


@frozen
class Answer:
    """What is sent back."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of_json(cls, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "Answer":
        """Answer with a JSON document."""
        return cls(json.dumps(content, indent=1).encode() + b"\n", status=status, headers=headers or {})


Respond = Callable[[AdminCall], Coroutine[Any, Any, Answer]]


@frozen
class Method:
    """What one verb does at an endpoint."""

    respond: Respond
    parameters: frozenset[str] = frozenset()
    needs_token: bool = field(default=False, kw_only=True)
    """Whether it changes anything, reads a value or names a key."""
    is_costly: bool = field(default=False, kw_only=True)
    """Whether it asks other nodes: only `MAX_OPERATIONS` at once may."""
    segments: int = field(default=0, kw_only=True)
    """Of the path behind the endpoint: one where it ends with a key."""

    @classmethod
    def of_key(cls, respond: Respond, parameters: frozenset[str] = frozenset()) -> "Method":
        """Ask other nodes about the key at the end of the path."""
        return cls(respond, parameters, needs_token=True, is_costly=True, segments=1)


class OperationLimit:
    """Counts the costly operations under way, of all endpoints of a site."""

    def __init__(self) -> None:
        self.running = 0


class AdminResource(Resource):
    """A resource that answers later, or refuses at once by raising `HttpError`."""

    log = Logger()
    isLeaf = True

    def render(self, request: Request) -> int:
        """Answer the request."""
        try:
            self.respond(request)
        except HttpError as refused:
            write(request, error_answer(refused))
        return NOT_DONE_YET

    def respond(self, request: Request) -> None:
        """Check the request and begin to answer it. Raises `HttpError`."""
        raise NotImplementedError


class Endpoint(AdminResource):
    """An endpoint with its verbs."""

    def __init__(self, methods: Mapping[str, Method], rules: AccessRules, limit: OperationLimit) -> None:
        super().__init__()
        self.methods = dict(methods)
        if "GET" in methods:
            self.methods["HEAD"] = methods["GET"]
        self._rules = rules
        self._limit = limit

    def respond(self, request: Request) -> None:
        """As `AdminResource.respond`."""
        method, call = self._admit(request)
        if method.is_costly:
            self._limit.running += 1
        running = Deferred.fromCoroutine(method.respond(call))
        request.notifyFinish().addErrback(lambda _: running.cancel())
        running.addBoth(self._finish, request, method)

    def _admit(self, request: Request) -> tuple[Method, AdminCall]:
        """Check the request, cheapest first. Raises `HttpError`."""
        check_sender(request, self._rules)
        verb = request.method.decode("latin-1")
        method = self.methods.get(verb)
        if method is None:
            allowed = ", ".join(sorted(self.methods))
            raise HttpError(
                405, f"{verb} is not possible here", f"Possible are: {allowed}.", {"Allow": allowed}
            )
        if method.needs_token:
            check_token(request, self._rules)
        segments = path_segments(request, method.segments)
        if method.is_costly and self._limit.running >= MAX_OPERATIONS:
            raise HttpError(
                429, f"{MAX_OPERATIONS} operations are under way", "Try again.", {"Retry-After": "1"}
            )
        assert request.content is not None
        given = parameters(request, method.parameters)
        return method, AdminCall(segments, given, request.content.read())

    def _finish(self, result: Answer | Failure, request: Request, method: Method) -> None:
        if method.is_costly:
            self._limit.running -= 1
        write_result(request, result, self.log)


def header(request: Request, name: bytes) -> str | None:
    """Return a header of the request."""
    # Twisted keeps names as bytes; a str would be compared with them.
    raw = request.getHeader(name)
    return raw.decode("latin-1") if raw is not None else None


def check_sender(request: Request, rules: AccessRules) -> None:
    """Refuse what a foreign page sends. Raises `HttpError`."""
    host = header(request, b"host")
    if not rules.accepts_host(host):
        raise HttpError(
            403,
            "this server is not known by that name",
            "Use an IP address or localhost, or set [node] admin_hosts.",
        )
    if not rules.accepts_origin(header(request, b"origin"), host):
        raise HttpError(403, "a page of another origin sent this request")


def check_token(request: Request, rules: AccessRules, hint: str = TOKEN_HINT) -> None:
    """Refuse who has no token where one is asked for. Raises `HttpError`."""
    if not rules.accepts_token(header(request, b"authorization")):
        raise HttpError(401, "the token is missing or wrong", hint, {"WWW-Authenticate": "Bearer"})


def path_segments(request: Request, count: int) -> tuple[str, ...]:
    """Return the segments of the path behind that of the endpoint. Raises `HttpError` unless there are
    `count`, none of them empty."""
    segments = tuple(part.decode("utf-8", "surrogateescape") for part in request.postpath or ())
    if len(segments) != count or not all(segments):
        raise no_such_page()
    return segments


def parameters(request: Request, known: frozenset[str]) -> dict[str, str]:
    """Return the parameters of a request. Raises `HttpError` for unknown ones."""
    given: dict[str, str] = {}
    for raw_name, values in (request.args or {}).items():
        name = raw_name.decode("utf-8", "replace")
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = (
                f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(known)) or 'none'}."
            )
            raise HttpError(400, f"unknown parameter {name!r}", hint)
        if len(values) != 1:
            raise HttpError(400, f"parameter {name!r} is given more than once")
        given[name] = values[0].decode("utf-8", "replace")
    return given


def whole_number(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return one of the parameters as a whole number from `low` to `high`. Raises `HttpError`."""
    text = given.get(name)
    if text is None:
        return default
    # Python refuses to read thousands of digits.
    if not re.fullmatch("[0-9]{1,19}", text) or not low <= int(text) <= high:
        raise HttpError(400, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def no_such_page() -> HttpError:
    """The refusal of a path that names nothing."""
    return HttpError(404, "no such page", "GET /openapi.json lists all pages.")


def not_started() -> HttpError:
    """The refusal of a node without an id."""
    return HttpError(503, "the node has not started", "See /readyz.", {"Retry-After": "1"})


def write_result(request: Request, result: Answer | Failure, log: Logger) -> None:
    """Send an answer, or what a failure means, unless the client has gone."""
    if isinstance(result, Failure):
        while isinstance(result.value, FirstError):  # One of several jobs side by side.
            result = result.value.subFailure
        if result.check(CancelledError):
            return
        result = failure_answer(result, log)
    write(request, result)


def failure_answer(failure: Failure, log: Logger) -> Answer:
    """Answer to a request that has failed, and log what is a bug."""
    if isinstance(failure.value, HttpError):
        return error_answer(failure.value)
    if failure.check(NotStarted):
        return error_answer(not_started())
    log.failure("An admin request failed; this is a bug.", failure, event="admin.request_bug")
    return error_answer(HttpError(500, "internal error", "The log of the node has the details."))


def error_answer(error: HttpError) -> Answer:
    """Answer with what is wrong, and what to do about it."""
    content = {"error": error.error, "hint": error.hint}
    return Answer.of_json(content, error.status, error.headers)


def is_over(request: Request) -> bool:
    """Whether the request is answered, or its client has gone."""
    return bool(request._disconnected or request.finished)


def write(request: Request, answer: Answer) -> None:
    """Send an answer, unless the client has gone."""
    if is_over(request):
        return
    request.setResponseCode(answer.status)
    request.setHeader(b"Content-Type", answer.content_type.encode())
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    for name, text in answer.headers.items():
        request.setHeader(name.encode(), text.encode())
    request.write(answer.body)
    request.finish()
