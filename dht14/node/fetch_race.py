"""Fetches several advertised records of one key at once: some may be claims of liars."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from dht14.kademlia.parameters import UNVOUCHED_TIMEOUT, VOUCHED_TIMEOUT, VOUCHING_HOLDERS
from dht14.node.fetch import Fetch, ValueSource
from dht14.node.ports import Bulk
from dht14.node.timers import cancel_timer
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank
from dht14.records.record import Record

T = TypeVar("T")

MAX_FETCHES = 4
"""Advertised records of one key that are fetched at once."""

Claims = Sequence[tuple[AdvertisedRecord, Sequence[ValueSource]]]
"""Advertised records, each with the holders that advertise it: first those that matter most."""

Insists = Callable[[Record | None], bool]
"""Whether a record greater than this one must not be given up."""


def gives_way(best: Record | None) -> bool:
    """As `Insists`, where nothing is known to be agreed: what does not come is given up."""
    return False


@define(eq=False)
class _Claim:
    """One advertised record, and its fetch."""

    advertised: AdvertisedRecord
    sources: list[ValueSource] = field(factory=list, init=False)
    """The holders that advertise it."""
    fetch: Fetch | None = field(default=None, init=False)
    """While it is under way."""
    asked_at_stall: int | None = field(default=None, init=False)
    """How many holders had been asked for it when the race stalled, if it was under way then."""
    is_overdue: bool = field(default=False, init=False)
    """Whether it had stalled and has no more holders: nothing waits for it unless the caller insists."""

    def add(self, sources: Iterable[ValueSource]) -> list[ValueSource]:
        """These holders advertise it. Return those that are new."""
        known = {source.contact.node_id for source in self.sources}
        more = [source for source in sources if source.contact.node_id not in known]
        self.sources += more
        self.is_overdue &= not more
        return more

    def stalled(self) -> None:
        """The race stalls."""
        self.asked_at_stall = len(self.fetch.asked) if self.fetch is not None else None
        self.is_overdue = self.fetch is not None


@define(eq=False)
class FetchRace:
    """Fetches several advertised records of one key at once, and takes the greatest that arrives in time.

    What one or two holders advertise and do not send is given up after a while, if something else is there.
    What most of the group have is not: then the race stalls, its caller finds more holders, and it goes on
    until its time is over.
    """

    _advertised: Claims
    _bulk: Bulk
    _clock: IReactorTime
    best: Record | None
    """The greatest record with its value; at first, the one that the replies of the get contained, if any."""
    _insists: Insists = gives_way
    failed: list[ValueSource] = field(factory=list, init=False)
    """Holders that did not send in time what they advertise."""
    withdrawn: set[tuple[Rank, int]] = field(factory=set, init=False)
    """Records that a holder answered not to have (any more), with the id of that holder."""
    _claims: dict[Rank, _Claim] = field(factory=dict, init=False)
    _ends_at: float = field(default=0.0, init=False)
    _done: "Deferred[None]" = field(factory=Deferred, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _stall_timer: IDelayedCall | None = field(default=None, init=False)
    _is_late: bool = field(default=False, init=False)
    """Whether only records that several holders advertise are waited for."""
    _is_beginning: bool = field(default=False, init=False)
    """Whether transfers are being begun. Some fail at once; the others must have begun before that counts."""
    is_stalled: bool = field(default=False, init=False)
    """Whether it waits for more holders, by `go_on`: its transfers go on."""

    def run(self, timeout: float) -> "Deferred[None]":
        """Begin. Fires when no greater record can arrive, when it stalls, or after `timeout` seconds."""
        self._ends_at = self._clock.seconds() + timeout
        self._stall_timer = self._clock.callLater(VOUCHED_TIMEOUT, self._stall)
        return self._race(self._advertised)

    def go_on(self, advertised: Claims, insists: Insists) -> "Deferred[None]":
        """More is advertised, which decides what must not be given up. Fires as `run` does, within the same
        time; it stalls no more."""
        self._cancel_timers()
        self._insists = insists
        self.is_stalled, self._is_late, self._timer = False, False, None
        self._done = Deferred()
        return self._race(advertised)

    def stop(self) -> None:
        """End all that is under way."""
        self._cancel_timers()
        for claim in self._claims.values():
            if claim.fetch is not None:
                claim.fetch.stop()

    def _cancel_timers(self) -> None:
        cancel_timer(self._timer)
        cancel_timer(self._stall_timer)

    def _race(self, advertised: Claims) -> "Deferred[None]":
        left = max(self._ends_at - self._clock.seconds(), 0.0)
        deadline = self._clock.callLater(left, self._end)
        self._done.addBoth(self._ended, deadline)
        self._is_beginning = True
        for claim in advertised[:MAX_FETCHES]:
            self._begin(*claim, left)
        self._is_beginning = False
        self._wait_or_settle()
        return self._done

    def _begin(self, advertised: AdvertisedRecord, sources: Sequence[ValueSource], timeout: float) -> None:
        """Begin to fetch a record, or ask more holders for it; each holder once."""
        claim = self._claims.setdefault(advertised.rank, _Claim(advertised))
        more = claim.add(sources)
        if claim.fetch is not None:
            claim.fetch.heard_of(more)
        elif more:
            claim.fetch = Fetch(advertised, more, self._bulk, self._clock)
            claim.fetch.run(timeout).addErrback(_cancelled).addCallback(self._fetched, claim, claim.fetch)

    def _fetched(self, record: Record | None, claim: _Claim, fetch: Fetch) -> None:
        claim.fetch = None
        if self._done.called and not self.is_stalled:
            return
        self.withdrawn.update((claim.advertised.rank, node_id) for node_id in fetch.withdrawn)
        if record is None:
            self.failed += claim.sources
        else:
            if claim.asked_at_stall is not None:
                self.failed += fetch.passed_over(claim.asked_at_stall)
            if self.best is None or record.rank > self.best.rank:
                self.best = record
        if not self.is_stalled and not self._is_beginning:
            self._wait_or_settle()

    @property
    def withdrawers(self) -> set[int]:
        """The ids of the nodes that turned out not to have what they had advertised."""
        return {node_id for _, node_id in self.withdrawn}

    def withdrawers_above(self, best: Record | None) -> set[int]:
        """Return those of them that had advertised something greater than this. They have something greater
        still by now, or it has expired."""
        return {node_id for rank, node_id in self.withdrawn if best is None or rank > best.rank}

    # Waiting

    def _above_best(self) -> list[_Claim]:
        """Return the records greater than the best whose fetches are under way."""
        best = self.best
        return [
            claim
            for rank, claim in self._claims.items()
            if claim.fetch is not None and (best is None or rank > best.rank)
        ]

    def _awaited(self) -> list[_Claim]:
        """Return those of them that are not overdue."""
        return [claim for claim in self._above_best() if not claim.is_overdue]

    def _wait_or_settle(self) -> None:
        if not self._awaited():
            self._settle()
        elif self._is_late:
            self._waited()
        elif self.best is not None:
            self._limit_wait()

    def _limit_wait(self) -> None:
        if self._timer is None and not self._done.called:
            self._timer = self._clock.callLater(UNVOUCHED_TIMEOUT, self._waited)

    def _waited(self) -> None:
        """Give up what a single holder advertises."""
        self._is_late = True
        if not any(len(claim.sources) >= VOUCHING_HOLDERS for claim in self._awaited()):
            self._settle()
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(VOUCHED_TIMEOUT - UNVOUCHED_TIMEOUT, self._settle)

    # The end

    def _stall(self) -> None:
        """Nothing that must not be given up has come for a long time: more holders are needed."""
        if self._done.called or not self._insists(self.best):
            return
        self.is_stalled = True
        for claim in self._claims.values():
            claim.stalled()
        self._done.callback(None)

    def _settle(self) -> None:
        """Take what is there, unless something must still come and can."""
        if not self._above_best() or not self._insists(self.best):
            self._end()

    def _end(self) -> None:
        if not self._done.called:
            for claim in self._above_best():
                self.failed += claim.sources
            self._done.callback(None)

    def _ended(self, result: T, deadline: IDelayedCall) -> T:
        cancel_timer(deadline)
        if not self.is_stalled:
            self.stop()
        return result


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
