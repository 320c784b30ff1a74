"""A store that reports what it holds: for those who must hear of every change of a record."""

from collections.abc import Callable

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.records.kept import KeptList
from dht14.records.read_quorum import Rank
from dht14.records.record import Record
from dht14.records.store import ANY_VERSION, LocalStore, Outcome, Page, Refusal, StoreSpace, Verdict
from dht14.records.version_floors import Floor

MAX_REFUSED = 4_096
"""Records whose refusal is remembered."""


@define(eq=False)
class ObservedStore:
    """A `LocalStore` that passes everything on to another one, and calls the `observers` with the key of each
    record that is held, when readers can see it."""

    _store: LocalStore
    _latest: Callable[[], int] = lambda: ANY_VERSION
    """Returns the greatest version that an honest node can have by now. What stands here above that was made
    when this node did not know the time: it gives way to what others write."""
    observers: list[Callable[[int], None]] = field(factory=list, init=False)
    _refused: BoundedDict[int, tuple[Rank, float]] = field(
        factory=lambda: BoundedDict(MAX_REFUSED), init=False
    )
    """The rank and the expiry of records for which the disk had no room, by key. They may be acknowledged by
    others: what stands here under these keys has no vote."""
    get: Callable[[int, float], Record | None] = field(init=False)
    """As `RecordStore.get`: the method of the other store itself, because reads must cost nothing more."""

    def __attrs_post_init__(self) -> None:
        self.get = self._store.get

    @property
    def kept(self) -> KeptList:
        """As `LocalStore.kept`: that of the other store."""
        return self._store.kept

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        """As `RecordStore.offer`."""

        def judged(verdict: Verdict) -> None:
            if verdict.outcome is Outcome.OUTRANKED and verdict.version > (latest := self._latest()):
                self._store.overrule(record, now, latest, decided)
            else:
                decided(verdict)

        def decided(verdict: Verdict) -> None:
            if verdict.outcome is Outcome.REFUSED and verdict.refusal is Refusal.NO_ROOM:
                self._refused[record.key] = record.rank, record.expires_at
            on_verdict(verdict)
            if verdict.outcome is Outcome.HELD:
                for observer in self.observers:
                    observer(record.key)

        self._store.offer(record, now, judged)

    def overrule(
        self, record: Record, now: float, latest: int, on_verdict: Callable[[Verdict], None]
    ) -> None:
        """As `LocalStore.overrule`."""
        self._store.overrule(record, now, latest, on_verdict)

    def lapse(self, record: Record, floor: Floor, now: float) -> None:
        """As `LocalStore.lapse`."""
        self._store.lapse(record, floor, now)

    def is_in_place(self) -> bool:
        """As `RecordStore.is_in_place`."""
        return self._store.is_in_place()

    def is_replacing(self, record: Record) -> bool:
        """As `RecordStore.is_replacing`; or was given a greater record, and had no room for it."""
        if (
            self._refused
            and (refused := self._refused.get(record.key)) is not None
            and refused[0] > record.rank
        ):
            return True
        return self._store.is_replacing(record)

    def is_open(self) -> bool:
        """As `LocalStore.is_open`."""
        return self._store.is_open()

    def hangs(self) -> bool:
        """As `LocalStore.hangs`."""
        return self._store.hangs()

    def floor(self, key: int, now: float) -> Floor:
        """As `RecordStore.floor`."""
        return self._store.floor(key, now)

    def expire(self, now: float) -> object:
        """As `RecordStore.expire`."""
        for key in [key for key, (_, expires_at) in self._refused.items() if expires_at <= now]:
            del self._refused[key]
        return self._store.expire(now)

    def page(self, mark: bytes, now: float) -> Page:
        """As `LocalStore.page`."""
        return self._store.page(mark, now)

    def space(self) -> StoreSpace:
        """As `LocalStore.space`."""
        return self._store.space()

    def __len__(self) -> int:
        return len(self._store)

    def check_invariants(self) -> None:
        """As `LocalStore.check_invariants`."""
        self._store.check_invariants()
