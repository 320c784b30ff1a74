"""Run tests with trial and write what happened as one HTML page.

`python scripts/test_report.py PAGE TESTS…`, from the top of a checkout. Exit code 0 when all passed.
"""

import html
import sys
import time
from pathlib import Path
from typing import Any

from twisted.logger import LogEvent, formatEventAsClassicLogText, globalLogPublisher
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>DHT-14: {verdict}</title>
<style>
:root {{ color-scheme: light dark; --line: #ccc; --bad: #a40000; --block: #f4f4f4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --line: #444; --bad: #ff8a80; --block: #22262b; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }}
.seconds {{ text-align: right; font-variant-numeric: tabular-nums; }}
.failed {{ color: var(--bad); font-weight: bold; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: var(--block); padding: .6rem; }}
</style>
</head>
<body>
<h1>DHT-14: {verdict}</h1>
<p>{totals}, in {seconds:.1f} s, on {when}, Python {python}.</p>
<table>
<caption>Tests that did not pass first, then in the order in which they ran</caption>
<thead><tr><th scope="col">Result</th><th scope="col">Test and its promise</th>
<th scope="col" class="seconds">Seconds</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""

_ROW = """<tr><td class="{result}">{result}</td>
<td><code>{name}</code><br>{promise}{details}</td><td class="seconds">{seconds:.3f}</td></tr>"""


class Reporter(TreeReporter):
    """trial's tree on the terminal; times and logs are kept for the page."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.ran: list[tuple[Any, float, list[str]]] = []
        self._observer: Any = self._keep

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self._log_lines: list[str] = []
        globalLogPublisher.addObserver(self._observer)
        self._began = time.monotonic()

    def stopTest(self, test: Any) -> None:
        seconds = time.monotonic() - self._began
        globalLogPublisher.removeObserver(self._observer)
        self.ran.append((test, seconds, self._log_lines))
        super().stopTest(test)

    def _keep(self, event: LogEvent) -> None:
        self._log_lines.append(formatEventAsClassicLogText(event) or "")


def page(result: Any, seconds: float) -> str:
    """The whole report as HTML that needs nothing beside it."""
    notes = _notes(result)
    rows = []
    for test, took, log in result.ran:
        name = test.id()
        verdict, details = notes.get(name, ("passed", []))
        rows.append((verdict == "passed", _row(name, test, verdict, took, details, log)))
    counts = {verdict: sum(1 for v, _ in notes.values() if v == verdict) for verdict in ("failed", "skipped")}
    passed = len(result.ran) - sum(counts.values())
    return _PAGE.format(
        verdict="all tests passed" if result.wasSuccessful() else f"{counts['failed']} tests failed",
        totals=f"{passed} passed, {counts['failed']} failed, {counts['skipped']} skipped",
        seconds=seconds,
        when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        python=sys.version.split()[0],
        rows="\n".join(row for _, row in sorted(rows, key=lambda pair: pair[0])),
    )


def _notes(result: Any) -> dict[str, tuple[str, list[str]]]:
    """By test: what happened instead of passing, with the tracebacks or reasons."""
    notes: dict[str, tuple[str, list[str]]] = {}
    for test, reason in result.skips:
        notes[test.id()] = ("skipped", [str(reason)])
    for test, _ in result.unexpectedSuccesses:
        notes[test.id()] = ("failed", ["It passed, though it is marked as failing."])
    for test, failure in [*result.failures, *result.errors]:
        notes.setdefault(test.id(), ("failed", []))[1].append(failure.getTraceback())
    return notes


def _row(name: str, test: Any, verdict: str, seconds: float, details: list[str], log: list[str]) -> str:
    blocks = [f"<pre>{html.escape(detail)}</pre>" for detail in details]
    if verdict == "failed" and log:
        blocks.append(f"<details><summary>Log</summary><pre>{html.escape(''.join(log))}</pre></details>")
    return _ROW.format(
        result=verdict,
        name=html.escape(name),
        promise=html.escape(" ".join((test.shortDescription() or "").split())),
        details="".join(blocks),
        seconds=seconds,
    )


def main(out: str, names: list[str]) -> int:
    """Run the tests of these names and write the page; the exit code."""
    sys.path.insert(0, "")
    target = Path(out).absolute()
    suite = TestLoader().loadByNames(names, recurse=True)
    began = time.monotonic()
    result: Any = TrialRunner(Reporter, workingDirectory=str(target.parent / "trial")).run(suite)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(result, time.monotonic() - began), encoding="utf-8")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").strip())
    sys.exit(main(sys.argv[1], sys.argv[2:]))
