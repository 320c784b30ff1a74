"""What the admin surface shows of the kept values of a real node."""

import re
from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from dht14.maintenance.keep import Keeper
from dht14.net.admin.view import KeptJson, KeptPageJson, KeptValueJson, NotStarted, UnkeptFileJson
from dht14.net.api.readiness import Readiness
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry, KeptState, explained
from dht14.records.receipt import NoRecord
from dht14.stack import Stack

_CURSOR = re.compile("([0-9a-f]{2}){0,64}")


@frozen
class RealKeepingView:
    """The `KeepingView` of a real node."""

    _stack: Callable[[], Stack | None]
    """None before there is a node. A bootstrap node has one without a keeper."""
    _readiness: Readiness
    _clock: IReactorTime

    def status(self) -> KeptJson | None:
        """Return the list at a glance, as the last look at it has found it."""
        stack = self._stack()
        keeper = stack.keeper if stack is not None else None
        if keeper is None:
            return None
        metrics = keeper.metrics
        return KeptJson(
            values=metrics.states[KeptState.RENEWED],
            stopped=metrics.states[KeptState.REPLACED] + metrics.states[KeptState.DELETED],
            failing=metrics.failing,
            used=keeper.used,
            limit=metrics.limit,
            overdue=metrics.overdue,
        )

    def page(self, after: str, limit: int) -> KeptPageJson:
        """As `KeepingView`."""
        mark = mark_of_page(after)
        keeper = self._running()
        if keeper is None:
            return KeptPageJson(values=[], next=None, used=0, limit=0)
        page = keeper.page(mark, limit)
        return KeptPageJson(
            values=[self._shown(entry) for entry in page.entries],
            next=page.mark.hex() if page.mark is not None else None,
            used=keeper.used,
            limit=keeper.metrics.limit,
        )

    async def keep(
        self, key: int, value: bytes, version: int | None, ttl: int, replication: int, by: KeptBy
    ) -> KeptValueJson | KeepRefusal | NoRecord:
        """As `KeepingView`."""
        keeper = self._running()
        if keeper is None:
            return KeepRefusal.NO_VALUES
        kept: KeptEntry | KeepRefusal
        with keeper.files.keeping(key, by):
            if value:
                kept = await keeper.keep(key, value, version, ttl, replication, by)
            else:
                found = await self._readiness.get(key)
                if isinstance(found, NoRecord):
                    return found
                kept = await keeper.keep_record(found, ttl, replication, by)
        if by is KeptBy.FILE:
            # The parts of what the address named before make room for the new ones.
            await keeper.files.tidy()
        return kept if isinstance(kept, KeepRefusal) else self._shown(kept)

    async def unkeep(self, key: int, by: KeptBy) -> KeptBy | KeepRefusal | None:
        """As `KeepingView`."""
        keeper = self._running()
        return await keeper.unkeep(key, by) if keeper is not None else KeepRefusal.NO_VALUES

    async def unkeep_file(self, key: int) -> UnkeptFileJson | KeepRefusal | None:
        """As `KeepingView`."""
        keeper = self._running()
        unkept = await keeper.unkeep_file(key) if keeper is not None else KeepRefusal.NO_VALUES
        if unkept is None or isinstance(unkept, KeepRefusal):
            return unkept
        return UnkeptFileJson(
            key=f"{key:064x}",
            ended=unkept.ended,
            shared=unkept.shared,
            by_key=unkept.by_key,
            complete=unkept.is_known,
        )

    def _running(self) -> Keeper | None:
        """Return the keeper, None in a bootstrap node."""
        stack = self._stack()
        if stack is None:
            raise NotStarted
        return stack.keeper

    def _shown(self, entry: KeptEntry) -> KeptValueJson:
        now = self._clock.seconds()
        return KeptValueJson(
            key=f"{entry.key:064x}",
            kind=entry.kind.name.lower(),
            version=entry.version,
            bytes=entry.size,
            ttl=entry.ttl,
            replication=entry.replication,
            state=entry.state.name.lower(),
            failure=explained(entry.failure) if entry.failure else None,
            failing_for=now - entry.failing_since if entry.failing_since else None,
            kept_for=now - entry.kept_at,
            renewed=now - entry.renewed_at,
            due_in=entry.due_at - now,
            expires_in=entry.expires_at - now,
            by=entry.by.names,
        )


def mark_of_page(cursor: str) -> bytes:
    """Return the mark that a cursor names, hex digits; none for the first page. Raises `ValueError`."""
    if not _CURSOR.fullmatch(cursor):
        raise ValueError("after is no cursor: use the field next of the page before")
    return bytes.fromhex(cursor)
