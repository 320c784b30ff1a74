"""Drives one `Lookup` over the network: asks the contacts it chooses, and reports the outcomes."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import HEDGE_CALLS, OPERATION_TIMEOUT
from dht14.node.hedging import Hedges
from dht14.node.lookup_deadlines import LookupDeadlines
from dht14.node.ports import Rpc
from dht14.wire.messages import Reply, Request

T = TypeVar("T")

AnyLookup = Lookup | DisjointLookup

OnReply = Callable[[AnyLookup, Contact, Reply], None]
"""Tells the lookup what a reply means, with `answered`, `refused` or `outdated`."""


@define(eq=False)
class LookupRun:
    """One lookup from start to end; the `CallObserver` of all its calls.

    The outcomes of calls arrive one by one, some while other calls are still being made. After each the
    lookup may choose more contacts. Outcomes that arrive after it has finished mean nothing to it.
    """

    _lookup: AnyLookup
    _request: Request
    _on_reply: OnReply
    _rpc: Rpc
    _on_unheard: Callable[[Contact], None] | None = None
    """Called for each contact that has not answered at its hard timeout, if the lookup has ended before."""
    _done: "Deferred[AnyLookup]" = field(init=False, factory=Deferred)
    _asking: bool = field(init=False, default=False)
    _has_news: bool = field(init=False, default=False)
    """Whether anything has happened to the lookup since it last chose. Some calls fail at once."""
    _hedges: Hedges | None = field(init=False, default=None)
    """For a read over one path; other lookups go by the soft timeouts alone."""
    _read_id: int = field(init=False, default=0)
    _deadlines: LookupDeadlines | None = field(init=False, default=None)
    """None before its first calls are made, and once it has ended."""
    _lookup_id: int = field(init=False, default=0)

    def run(self, deadlines: LookupDeadlines, timeout: float = OPERATION_TIMEOUT) -> "Deferred[AnyLookup]":
        """Begin. Fires with the lookup when it has finished, or as it is after `timeout` seconds."""
        self._proceed()
        if not self._done.called:
            self._deadlines = deadlines
            self._lookup_id = deadlines.begin(timeout, self._end)
            self._done.addBoth(self._stop)
        return self._done

    def _stop(self, result: T) -> T:
        if self._deadlines is not None:
            self._deadlines.ended(self._lookup_id)
            self._deadlines = None
        if self._hedges is not None:
            self._hedges.ended(self._read_id)
            self._hedges = None
        return result

    def hedge(self, hedges: Hedges, lookup: Lookup) -> None:
        """Ask more contacts while answers are overdue. `lookup` is the one that it drives."""
        if not self._done.called:
            self._hedges = hedges
            self._read_id = hedges.begin(lookup.usual_rtt, partial(self._overdue, lookup))

    def _overdue(self, lookup: Lookup) -> None:
        lookup.hedge(HEDGE_CALLS)
        self._proceed()

    def _proceed(self) -> bool:
        """Something has happened to the lookup: ask the contacts that it chooses now. Return whether it chose
        any."""
        if self._done.called:
            return False
        self._has_news = True
        if self._asking:
            return False
        has_asked = False
        self._asking = True
        while self._has_news:
            self._has_news = False
            for contact in self._lookup.take_next():
                has_asked = True
                self._rpc.call(contact, self._request, self)
        self._asking = False
        if self._lookup.finished:
            self._end()
        return has_asked

    def _end(self) -> None:
        self._done.callback(self._lookup)

    def _report(self, fact: Callable[[Contact], None], contact: Contact) -> None:
        if not self._done.called:
            fact(contact)
            self._proceed()

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`."""
        if self._hedges is not None:
            self._hedges.answered(self._read_id)
        if not self._done.called:
            self._on_reply(self._lookup, contact, reply)
            if self._proceed() and self._hedges is not None:
                self._hedges.asked_more(self._read_id)

    def call_slow(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._report(self._lookup.slow, contact)

    def call_silent(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._report(self._lookup.silent, contact)

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        if self._done.called and self._on_unheard is not None:
            self._on_unheard(contact)
        self._report(self._lookup.failed, contact)
