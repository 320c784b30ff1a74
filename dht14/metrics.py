"""Declared metrics: what a component counts, in plain attributes, and the names under which Prometheus shows
it.

A component owns one attrs class of counters and adds to its attributes: that costs what an attribute costs.
Each field is declared with its `Family`, one line of documentation and its labels; `samples` lists the fields
of such an object, and of the objects inside. Names follow https://prometheus.io/docs/practices/naming/.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from attrs import AttrsInstance, Factory, define, field, fields, frozen, has

_DECLARED = "metric"


class MetricKind(Enum):
    """How a metric behaves. The values are Prometheus's words."""

    COUNTER = "counter"
    """It only grows, from 0 at the start of the process."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@define
class Histogram:
    """Numbers of observations by size. `observe` costs less than 1 µs."""

    bounds: tuple[float, ...]
    """The greatest value of each bucket, ascending; the last bucket, beyond them, has no bound."""
    counts: list[int] = field()
    """One for each bucket: not cumulative."""
    total: float = 0.0
    """The sum of all values."""

    @counts.default
    def _empty(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @classmethod
    def of(cls, numbers: Mapping[int, int], bounds: tuple[float, ...]) -> "Histogram":
        """The histogram of exact numbers: how often each value was observed, by value."""
        made = cls(bounds)
        for value, times in numbers.items():
            made.counts[bisect_left(bounds, value)] += times
            made.total += value * times
        return made


@frozen
class Family:
    """Metrics of one name, told apart by their labels."""

    name: str
    documentation: str
    kind: MetricKind = MetricKind.COUNTER
    bounds: tuple[float, ...] = ()
    """Of the buckets of a histogram."""

    def value(self, documentation: str = "", **labels: str) -> Any:
        """Declare an attrs field that holds one number, or one histogram."""
        declared = Declared(self, documentation or self.documentation, labels)
        if self.kind is MetricKind.HISTOGRAM:
            return field(factory=lambda: Histogram(self.bounds), metadata={_DECLARED: declared})
        return field(default=0, metadata={_DECLARED: declared})

    def by(self, label: str, values: type[Enum], documentation: str = "", **labels: str) -> Any:
        """Declare an attrs field that holds one number for each member of an enumeration: `dict[member,
        int]`."""
        declared = Declared(self, documentation or self.documentation, labels, (label, values))
        return field(factory=lambda: dict.fromkeys(values, 0), metadata={_DECLARED: declared})

    def exact(self, documentation: str = "", **labels: str) -> Any:
        """Declare an attrs field `Counter[int]` that is shown as a histogram: for small whole numbers."""
        declared = Declared(self, documentation or self.documentation, labels)
        return field(default=Factory(Counter), metadata={_DECLARED: declared})


@frozen(eq=False)
class Declared:
    """What is known of one field."""

    family: Family
    documentation: str
    labels: Mapping[str, str]
    by: tuple[str, type[Enum]] | None = None
    """The label that tells the members of an enumeration apart, and the enumeration."""


@frozen
class Group:
    """A field that holds objects of metrics by the value of a label: `dict[str, ...]`."""

    label: str


def group(label: str, **made: Any) -> Any:
    """Declare an attrs field that holds objects of metrics by the value of `label`; `made` as for
    `attrs.field`."""
    return field(metadata={_DECLARED: Group(label)}, **made)


@frozen(eq=False)
class Series:
    """What tells a value from all others. `samples` uses one object for each series, however often it is
    called: what is made from a series can be kept."""

    family: Family
    labels: Mapping[str, str]


class Sample(NamedTuple):
    """One value under its name."""

    series: Series
    value: float | Histogram


def samples(measured: AttrsInstance, **labels: str) -> list[Sample]:
    """List the values of an object of metrics and of the objects inside; each sample has these `labels`
    too."""
    found: list[Sample] = []
    _collect(measured, tuple(labels.items()), found)
    return found


_Labels = tuple[tuple[str, str], ...]


def _collect(measured: Any, labels: _Labels, found: list[Sample]) -> None:
    kind: Any = type(measured)
    for name, shown in _fields(kind, labels):
        value = getattr(measured, name)
        if isinstance(shown, Series):
            if isinstance(value, Counter):
                value = Histogram.of(value, shown.family.bounds)
            found.append(Sample(shown, value))
        elif isinstance(shown, dict):
            found += [Sample(shown[member], number) for member, number in value.items()]
        elif isinstance(shown, Group):
            for label, part in value.items():
                _collect(part, (*labels, (shown.label, label)), found)
        else:
            _collect(value, labels, found)


_Shown = Series | dict[Enum, Series] | Group | None


@cache  # Bounded by the declarations: no label names a key, a peer or a client.
def _fields(measured: type, labels: _Labels) -> list[tuple[str, _Shown]]:
    """List the fields of an attrs class with what each one shows; another class has none."""
    if not has(measured):
        return []
    return [(one.name, _shown(one.metadata.get(_DECLARED), labels)) for one in fields(measured)]


def _shown(declared: Declared | Group | None, labels: _Labels) -> _Shown:
    if not isinstance(declared, Declared):
        return declared
    own = {**dict(labels), **declared.labels}
    if declared.by is None:
        return Series(declared.family, own)
    label, members = declared.by
    return {member: Series(declared.family, {**own, label: member.name.lower()}) for member in members}


def counter(name: str, documentation: str) -> Any:
    """Declare an attrs field with a number that only grows and that has its name to itself."""
    return Family(name, documentation).value()


def gauge(name: str, documentation: str) -> Any:
    """Declare an attrs field with a number that may fall and that has its name to itself."""
    return Family(name, documentation, MetricKind.GAUGE).value()
