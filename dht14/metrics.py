"""Declared metrics: what a component counts, in plain attributes, and the names under which Prometheus shows
it.

A component owns one attrs class of counters and adds to its attributes: that costs what an attribute costs.
Each field is declared with its `Family`, one line of documentation and its labels; `samples` lists the fields
of such an object, and of the objects inside. Names follow https://prometheus.io/docs/practices/naming/.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
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
        declared = Declared(self, documentation or self.documentation, labels, label)
        return field(factory=lambda: dict.fromkeys(values, 0), metadata={_DECLARED: declared})

    def exact(self, documentation: str = "", **labels: str) -> Any:
        """Declare an attrs field `Counter[int]` that is shown as a histogram: for small whole numbers."""
        declared = Declared(self, documentation or self.documentation, labels)
        return field(default=Factory(Counter), metadata={_DECLARED: declared})


@frozen
class Declared:
    """What is known of one field."""

    family: Family
    documentation: str
    labels: Mapping[str, str]
    by: str | None = None
    """The label that tells the members of an enumeration apart."""


@frozen
class Group:
    """A field that holds objects of metrics by the value of a label: `dict[str, ...]`."""

    label: str


def group(label: str, **made: Any) -> Any:
    """Declare an attrs field that holds objects of metrics by the value of `label`; `made` as for
    `attrs.field`."""
    return field(metadata={_DECLARED: Group(label)}, **made)


class Sample(NamedTuple):
    """One value under its name."""

    family: Family
    labels: Mapping[str, str]
    value: float | Histogram


def samples(measured: AttrsInstance, **labels: str) -> Iterator[Sample]:
    """List the values of an object of metrics and of the objects inside; each sample has these `labels`
    too."""
    for attribute in fields(type(measured)):
        declared = attribute.metadata.get(_DECLARED)
        value = getattr(measured, attribute.name)
        if isinstance(declared, Declared):
            yield from _declared(declared, value, labels)
        elif isinstance(declared, Group):
            for name, part in value.items():
                yield from samples(part, **labels, **{declared.label: name})
        elif has(type(value)):
            yield from samples(value, **labels)


def _declared(declared: Declared, value: Any, labels: Mapping[str, str]) -> Iterator[Sample]:
    family, own = declared.family, {**labels, **declared.labels}
    if declared.by is not None:
        for member, number in value.items():
            yield Sample(family, {**own, declared.by: member.name.lower()}, number)
    elif isinstance(value, Counter):
        yield Sample(family, own, Histogram.of(value, family.bounds))
    else:
        yield Sample(family, own, value)


def counter(name: str, documentation: str) -> Any:
    """Declare an attrs field with a number that only grows and that has its name to itself."""
    return Family(name, documentation).value()


def gauge(name: str, documentation: str) -> Any:
    """Declare an attrs field with a number that may fall and that has its name to itself."""
    return Family(name, documentation, MetricKind.GAUGE).value()
