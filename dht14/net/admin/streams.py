"""Server-sent events: a response that goes on for as long as the client listens."""

from collections.abc import AsyncGenerator, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from dht14.net.admin.access import AccessRules
from dht14.net.admin.endpoint import (
    AdminResource,
    HttpError,
    check_sender,
    check_token,
    is_over,
    parameters,
)
from dht14.net.admin.view import NodeView
from dht14.node.timers import cancel_timer

MAX_LISTENERS = 16
"""Clients that listen at once. The next one gets 429."""

Events = AsyncGenerator[bytes, None]
"""Server-sent events, one or more at once."""

HEARTBEAT_INTERVAL = 15.0
"""Seconds between two comments that a client ignores. Without them a client that has vanished would never be
missed where no event comes, nor would it miss this node; and what stands between may close a silent
connection."""

STALL_TIMEOUT = 30.0
"""Seconds without reading anything after which a client is disconnected."""


@implementer(IPushProducer)
class Flow:
    """Holds events back while the client reads more slowly than they come."""

    def __init__(self, request: Request, clock: IReactorTime) -> None:
        self._request = request
        self._clock = clock
        self._stalled: IDelayedCall | None = None
        self._resumed: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """The client does not read: hold events back, and end the stream if that lasts."""
        if self._stalled is None:
            self._stalled = self._clock.callLater(STALL_TIMEOUT, self._end)

    def resumeProducing(self) -> None:
        """The client has read everything."""
        self.stop()
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.called:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; the request says so, too."""
        self.stop()

    @property
    def is_paused(self) -> bool:
        """Whether the client does not read."""
        return self._stalled is not None

    async def ready(self) -> None:
        """Wait until the client reads."""
        if self.is_paused:
            self._resumed = Deferred()
            await self._resumed

    def stop(self) -> None:
        """Leave nothing on the clock."""
        stalled, self._stalled = self._stalled, None
        cancel_timer(stalled)

    def _end(self) -> None:
        self._stalled = None
        # What waits in the buffer would keep a connection open that is only closed.
        if self._request.channel is not None:
            self._request.channel.forceAbortClient()


class StreamHeartbeat:
    """Comments in a stream, at an interval, until `stop`."""

    def __init__(self, request: Request, flow: Flow, clock: IReactorTime) -> None:
        self._request = request
        self._flow = flow
        self._clock = clock
        self._next = clock.callLater(HEARTBEAT_INTERVAL, self._beat)

    def _beat(self) -> None:
        self._next = self._clock.callLater(HEARTBEAT_INTERVAL, self._beat)
        if not self._flow.is_paused:
            self._request.write(b": alive\n\n")

    def stop(self) -> None:
        """Leave nothing on the clock."""
        cancel_timer(self._next)


class EventStream(AdminResource):
    """`/v1/events`: what happens in the node, as it happens. Subclasses are streams of other events."""

    why_token = "Events name keys."
    parameters: frozenset[str] = frozenset()
    max_listeners = MAX_LISTENERS
    busy = f"{MAX_LISTENERS} clients listen already"

    def __init__(self, view: NodeView, rules: AccessRules, clock: IReactorTime) -> None:
        super().__init__()
        self._view = view
        self._rules = rules
        self._clock = clock
        self.listeners = 0

    def respond(self, request: Request) -> None:
        """Begin to send events."""
        events = self._admit(request)
        self.listeners += 1
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if request.channel is not None:
            request.channel.setTimeout(None)
        request.write(b": connected\n\n")
        flow = Flow(request, self._clock)
        request.registerProducer(flow, True)
        heartbeat = StreamHeartbeat(request, flow, self._clock)
        sending = Deferred.fromCoroutine(_send(request, flow, events))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        sending.addBoth(self._ended, request, flow, heartbeat, events)

    def _admit(self, request: Request) -> Events:
        """Check the request and return its events. Raises `HttpError`."""
        check_sender(request, self._rules)
        if request.method != b"GET":
            raise HttpError(405, "only GET is possible here", headers={"Allow": "GET"})
        check_token(request, self._rules, self.why_token)
        given = parameters(request, self.parameters)
        if self.listeners >= self.max_listeners:
            raise HttpError(429, self.busy, headers={"Retry-After": "5"})
        return self.events_for(request, given)

    def events_for(self, request: Request, given: Mapping[str, str]) -> Events:
        """Return the events for a request with these parameters; none is made yet. Raises `HttpError`."""
        return self._view.events()

    def _ended(
        self, result: object, request: Request, flow: Flow, heartbeat: StreamHeartbeat, events: Events
    ) -> None:
        self.listeners -= 1
        flow.stop()
        heartbeat.stop()
        Deferred.fromCoroutine(_close(events))
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("An event stream failed; this is a bug.", result, event="admin.stream_bug")
        if not is_over(request):
            request.unregisterProducer()
            request.finish()


async def _send(request: Request, flow: Flow, events: Events) -> None:
    async for some in events:
        request.write(some)
        await flow.ready()


async def _close(events: Events) -> None:
    """End the events: a stream can be cancelled while it waits for its client and not for them."""
    await events.aclose()
