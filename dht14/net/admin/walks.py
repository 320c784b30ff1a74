"""`/v1/nodes`: a walk through the network, as server-sent events."""

from collections.abc import Mapping

from twisted.web.server import Request

from dht14.net.admin.endpoint import not_started, whole_number
from dht14.net.admin.streams import Events, EventStream
from dht14.net.admin.view import NotStarted
from dht14.node.walk import MAX_WALK

DEFAULT_WALK = 1_000
"""Nodes that are asked if the client says nothing."""


class WalkStream(EventStream):
    """Walks for one client at a time: each node that is found is an event, and the end is."""

    why_token = "A walk costs other nodes something."
    parameters = frozenset({"limit"})
    max_listeners = 1
    busy = "this node walks for another client already"

    def events_for(self, request: Request, given: Mapping[str, str]) -> Events:
        """As `EventStream.events_for`."""
        limit = whole_number(given, "limit", DEFAULT_WALK, 1, MAX_WALK)
        try:
            return self._view.walk(limit)
        except NotStarted:
            raise not_started() from None
