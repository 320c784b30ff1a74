"""`/v1/watch/KEY`: the value of a key, and each change of it, as server-sent events."""

import base64
from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from dht14.net.admin.access import AccessRules
from dht14.net.admin.asked import ParseKey, asked_key
from dht14.net.admin.endpoint import path_segments
from dht14.net.admin.streams import Events, EventStream
from dht14.net.admin.view import NodeView, event
from dht14.records.receipt import NoRecord
from dht14.records.record import Record


class WatchStream(EventStream):
    """The stream of one key; it ends with the event `refused` where there can be no watch."""

    why_token = "A watch names a key."

    def __init__(self, view: NodeView, rules: AccessRules, clock: IReactorTime, parse_key: ParseKey) -> None:
        super().__init__(view, rules, clock)
        self._parse_key = parse_key

    def events_for(self, request: Request, given: Mapping[str, str]) -> Events:
        """As `EventStream.events_for`."""
        (text,) = path_segments(request, 1)
        return self._states(asked_key(self._parse_key, text))

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
