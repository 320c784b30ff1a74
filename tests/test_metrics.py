import importlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

from attrs import define, fields, has
from twisted.trial.unittest import SynchronousTestCase

from dht14.metrics import Declared, Family, Histogram, MetricKind, Sample, counter, gauge, group, samples

COLOURS = Family("dht14_paint_total", "Paint by colour.")
SIZES = Family("dht14_size_metres", "Sizes.", MetricKind.HISTOGRAM, (1.0, 2.0))
TOP = Path(__file__).parent.parent


class Weekday(Enum):
    """Something to count by."""

    MONDAY = 1
    TUESDAY = 2


@define
class Inner:
    red: int = COLOURS.value("Red paint.", colour="red")
    blue: int = COLOURS.value(colour="blue")


@define
class Outer:
    opened: int = counter("dht14_opened_total", "Doors opened.")
    open_now: int = gauge("dht14_open", "Doors that are open.")
    days: dict[Weekday, int] = Family("dht14_days_total", "Days.").by("day", Weekday)
    sizes: Histogram = SIZES.value()
    exact: Counter[int] = SIZES.exact(of="steps")
    inner: Inner = Inner()
    none: Inner | None = None
    rooms: dict[str, Inner] = group("room", factory=dict)


def values(listed: Iterable[Sample]) -> list[tuple[str, dict[str, str], float]]:
    return [
        (s.series.family.name, dict(s.series.labels), s.value)
        for s in listed
        if not isinstance(s.value, Histogram)
    ]


class SamplesTests(SynchronousTestCase):
    """What is declared is listed under its name."""

    def test_counters(self) -> None:
        """A field is an attribute to add to, and shows with its labels."""
        inner = Inner()
        inner.blue += 2
        self.assertEqual(
            values(samples(inner)),
            [("dht14_paint_total", {"colour": "red"}, 0), ("dht14_paint_total", {"colour": "blue"}, 2)],
        )

    def test_nested(self) -> None:
        """Objects inside are listed too; those of a group with its label; one that is missing is left out."""
        outer = Outer(inner=Inner(red=3), rooms={"hall": Inner(blue=4)})
        found = values(samples(outer, node="one"))
        self.assertIn(("dht14_paint_total", {"node": "one", "colour": "red"}, 3), found)
        self.assertIn(("dht14_paint_total", {"node": "one", "room": "hall", "colour": "blue"}, 4), found)

    def test_enumeration(self) -> None:
        """Each member of an enumeration has a number, from 0 on."""
        outer = Outer()
        outer.days[Weekday.TUESDAY] += 1
        found = [
            labels["day"] for name, labels, number in values(samples(outer)) if name == "dht14_days_total"
        ]
        self.assertEqual((found, outer.days[Weekday.MONDAY]), (["monday", "tuesday"], 0))

    def test_exact(self) -> None:
        """Exact numbers are shown as a histogram."""
        outer = Outer()
        outer.exact.update([0, 1, 2, 3, 30])
        shown = [s.value for s in samples(outer) if s.series.labels.get("of") == "steps"]
        self.assertEqual(shown, [Histogram((1.0, 2.0), [2, 1, 2], 36.0)])


class HistogramTests(SynchronousTestCase):
    """Numbers by size."""

    def test_buckets(self) -> None:
        """A value belongs to the first bucket whose bound it does not exceed, or to the last."""
        histogram = Histogram((1.0, 2.0))
        for value in (0.0, 1.0, 1.5, 2.0, 2.1, 99.0):
            histogram.observe(value)
        self.assertEqual((histogram.counts, histogram.count), ([2, 2, 2], 6))
        self.assertAlmostEqual(histogram.total, 105.6)

    def test_cost(self) -> None:
        """One observation takes less than 1 µs of the processor."""
        histogram = Histogram(tuple(i / 100 for i in range(11)))
        best = 1.0
        for _ in range(20):
            began = time.process_time()
            for _ in range(1_000):
                histogram.observe(0.05)
            best = min(best, (time.process_time() - began) / 1_000)
        self.assertLess(best, 1e-6)


def declared() -> Iterator[tuple[str, Declared]]:
    """Every field that a module of metrics declares, with its class."""
    for path in sorted((TOP / "dht14").rglob("*metrics.py")):
        name = ".".join(path.relative_to(TOP).with_suffix("").parts)
        for thing in vars(importlib.import_module(name)).values():
            if isinstance(thing, type) and has(thing) and thing.__module__ == name:
                for attribute in fields(thing):
                    metric = attribute.metadata.get("metric")
                    if isinstance(metric, Declared):
                        yield f"{name}.{thing.__name__}.{attribute.name}", metric


class NamesTests(SynchronousTestCase):
    """The names of all metrics follow the conventions of Prometheus."""

    def test_names(self) -> None:
        """Each begins with dht14_; counters, and nothing else, end with _total."""
        for where, metric in declared():
            family = metric.family
            self.assertTrue(re.fullmatch(r"dht14_[a-z0-9_]+", family.name), where)
            self.assertEqual(family.name.endswith("_total"), family.kind is MetricKind.COUNTER, where)
            self.assertTrue(family.documentation.endswith("."), where)
            self.assertTrue(metric.documentation.endswith("."), where)

    def test_one_meaning(self) -> None:
        """A name belongs to one family, all its fields have the same labels, and no two the same values."""
        families: dict[str, Family] = {}
        labels: dict[str, set[str]] = {}
        seen: set[tuple[str, tuple[tuple[str, str], ...], str | None]] = set()
        for where, metric in declared():
            family = metric.family
            self.assertEqual(families.setdefault(family.name, family), family, where)
            by = metric.by[0] if metric.by else None
            names = {*metric.labels} | ({by} if by else set())
            self.assertEqual(labels.setdefault(family.name, names), names, where)
            one = family.name, tuple(sorted(metric.labels.items())), by
            self.assertNotIn(one, seen, where)
            seen.add(one)
        self.assertGreater(len(seen), 50)
