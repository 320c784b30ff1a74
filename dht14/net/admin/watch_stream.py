"""`/v1/watch/KEY`: the value of a key, and each change of it, as server-sent events."""

import base64
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from dht14.net.admin.access import AccessRules
from dht14.net.admin.asked import ParseKey, asked_key
from dht14.net.admin.endpoint import HttpError
from dht14.net.admin.streams import Events, EventStream
from dht14.net.admin.view import NodeView, event
from dht14.records.receipt import NoRecord
from dht14.records.record import Record


class WatchStream(EventStream):
    """The stream of one key; it ends with the event `refused` where there can be no watch."""

    names = "A watch names a key."

    def __init__(self, view: NodeView, rules: AccessRules, clock: IReactorTime, parse_key: ParseKey) -> None:
        super().__init__(view, rules, clock)
        self._parse_key = parse_key

    def admit(self, request: Request) -> Callable[[], Events]:
        """Check the request and its key. Raises `HttpError`."""
        super().admit(request)
        segments = [part.decode("utf-8", "surrogateescape") for part in request.postpath or ()]
        if len(segments) != 1 or not segments[0]:
            raise HttpError(404, "no such page", "GET /openapi.json lists all pages.")
        key = asked_key(self._parse_key, segments[0])
        return lambda: self._states(key)

    async def _states(self, key: int) -> Events:
        states = self._view.watch(key)
        try:
            while (state := await states.following()) is not None:
                if state in (NoRecord.NOT_READY, NoRecord.TOO_MANY_WATCHES):
                    yield event("refused", {"error": state.name.lower().replace("_", " ")})
                else:
                    yield event("state", self._json(key, state))
        finally:
            states.end()

    def _json(self, key: int, state: Record | NoRecord) -> dict[str, Any]:
        if isinstance(state, NoRecord):
            return {"key": f"{key:064x}", "found": False, "reason": state.name.lower().replace("_", " ")}
        return {
            "key": f"{key:064x}",
            "found": True,
            "value": base64.b64encode(state.value).decode(),
            "bytes": len(state.value),
            "kind": state.kind.name.lower(),
            "version": state.version,
            "expires_in": max(int(state.expires_at - self._clock.seconds()), 0),
        }
