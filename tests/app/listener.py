"""Somebody who listens to the events of a node."""

import json
from collections.abc import AsyncGenerator
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

Event = tuple[str, dict[str, Any]]


@define(eq=False)
class Listener:
    """Takes events: all of them as they come (`listen`), or what waits (`take`)."""

    events: AsyncGenerator[bytes, None]
    received: list[Event] = field(factory=list)
    taken: list[int] = field(factory=list)
    """How many came at once, each time."""

    def listen(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._listen())

    async def _listen(self) -> None:
        async for some in self.events:
            self._received(some)

    def take(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._take())

    async def _take(self) -> None:
        self._received(await anext(self.events))

    def _received(self, some: bytes) -> None:
        events = [part.removeprefix("event: ") for part in some.decode().split("\n\n")[:-1]]
        parts = [event.split("\ndata: ") for event in events]
        self.received += [(kind, json.loads(content)) for kind, content in parts]
        self.taken.append(len(events))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for name, content in self.received if name == kind]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.received]
