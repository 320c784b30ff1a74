"""Chooses the version of an open record that a client puts: above those that holders have, and of this time.

Versions are made of the time on which most contacts agree (`network_clock`). A holder refuses one from the
future; a version from the future that a holder reports counts only if enough others do so too.
"""

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.kademlia.parameters import CLOCK_TIMEOUT, FUTURE_WITNESSES, GROUP
from dht14.node.lookups import Lookups
from dht14.node.network_clock import PRECISION, NetworkClock
from dht14.node.write_quorum import WriteQuorum
from dht14.records.record import Kind, Record, version_at
from dht14.records.store import RecordStore


@define(eq=False)
class VersionChoice:
    """The versions of the open records that one node writes."""

    _lookups: Lookups
    _store: RecordStore | None
    _time: NetworkClock
    _learners: "list[Deferred[None]]" = field(factory=list, init=False)
    """Those that wait until this node has heard what time it is."""

    async def first(self, record: Record, deadline: float) -> int:
        """Return the version of a write that begins now: above the one in the own store."""
        lookups = self._lookups
        is_near = lookups.neighbourhood.is_near(record.key, record.replication)
        if is_near and not self._time.has_heard_enough(len(lookups.table)):
            # Others refuse a version from the future. But the own store would take it first, and keep it.
            await self._learn_time(record.key, deadline)
        now = version_at(self._time.now())
        held = self._store.get(record.key, lookups.clock.seconds()) if self._store is not None else None
        newest_here = held.version if held is not None and held.kind is Kind.OPEN else 0
        return self._above(newest_here, now)

    async def next(self, record: Record, quorum: WriteQuorum, deadline: float) -> int:
        """Return the version with which to store the record again; its own version if that is not necessary.

        It is necessary where a holder has a newer version, and where this node's clock was wrong.
        """
        if quorum.refused_version or quorum.outranked_after(self._latest()):
            # Other nodes have a version from the future, or this node does not know the time yet.
            await self._ask_time(record.key, deadline)
        is_wrong = quorum.refused_version and self._is_off(record.version)
        version = version_at(self._time.now()) if is_wrong else record.version
        return self._above(quorum.version_to_surpass(self._latest(), FUTURE_WITNESSES), version)

    async def _learn_time(self, key: int, deadline: float) -> None:
        """Ask for the time, once for all puts that wait for it."""
        learned: Deferred[None] = Deferred()
        self._learners.append(learned)
        if len(self._learners) == 1:
            try:
                await self._ask_time(key, deadline)
            finally:
                learners, self._learners = self._learners, []
                for learner in learners:
                    learner.callback(None)
        await learned

    async def _ask_time(self, key: int, deadline: float) -> None:
        """Ask the group of the key for the time: each PONG tells it."""
        remaining = max(deadline - self._lookups.clock.seconds(), 0.0)
        await self._lookups.ping(self._lookups.table.closest(key, GROUP), min(CLOCK_TIMEOUT, remaining))

    def _latest(self) -> int:
        """Return the greatest version that can have been made by now."""
        return version_at(self._time.now() + PRECISION)

    def _above(self, newest: int, otherwise: int) -> int:
        """Return a version above the `newest` known one, or `otherwise` if `newest` is not believable."""
        return max(otherwise, newest + 1) if self._time.may_be_held(newest) else otherwise

    def _is_off(self, version: int) -> bool:
        """Whether this version was made at a time that differs from the network's time."""
        return abs(version - version_at(self._time.now())) > version_at(PRECISION)
