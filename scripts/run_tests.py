"""Run tests with trial, several at a time in processes of their own, and count the results.

`python -b scripts/run_tests.py [--jobs N] [--report PAGE] [--directory DIR] [--seed N] [TEST ...]`, from the
top of a checkout. The last line is `N passed, N failed[, N skipped]`. Exit code 0 when every test that was
found has passed or was skipped; a test whose process dies has failed.

trial's own `--jobs` limits a line of the log to 65,535 bytes, ignores `-b`, and cannot keep tests apart that
measure time. A test class with `runs_alone = True` runs after all others, one test at a time.
"""

import argparse
import html
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from io import TextIOWrapper
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from test_worker import Outcome, Verdict, begin_worker, found, run_one

TOP = Path(__file__).parent.parent

SLOW = ("tests.net.rpc.test_stop", "tests.process", "tests.scenarios", "tests.sim")
"""Names of tests that begin first, so that no long test is left for one core at the end."""


def run_all(tests: Sequence[Any], jobs: int, directory: Path) -> Iterator[Outcome]:
    """Run tests, `jobs` at a time, then those that run alone; yield each outcome as it comes."""
    together = [test.id() for test in tests if not getattr(test, "runs_alone", False)]
    alone = [test.id() for test in tests if getattr(test, "runs_alone", False)]
    together.sort(key=lambda name: not name.startswith(SLOW))
    for names, processes in ((together, jobs), (alone, 1)):
        if names:
            yield from _run_in_pool(names, processes, directory)


def _run_in_pool(names: Sequence[str], processes: int, directory: Path) -> Iterator[Outcome]:
    pool = ProcessPoolExecutor(processes, get_context("spawn"), begin_worker, (str(directory),))
    with pool:
        pending: dict[Future[Outcome], str] = {pool.submit(run_one, name): name for name in names}
        try:
            for future in as_completed(pending):
                yield _outcome_of(future, pending[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _outcome_of(future: "Future[Outcome]", name: str) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            name, "", Verdict.FAILED, 0.0, ("A process of the runner died before this test ended.",)
        )
    except Exception as failure:  # noqa: BLE001 - a test that cannot be run, or reported, has failed
        return Outcome(name, "", Verdict.FAILED, 0.0, (f"The test could not be run: {failure!r}",))


def counts_of(outcomes: Sequence[Outcome]) -> str:
    """Return the last line: how many tests passed, failed and were skipped."""
    count = {verdict: sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict}
    skipped = f", {count[Verdict.SKIPPED]} skipped" if count[Verdict.SKIPPED] else ""
    return f"{count[Verdict.PASSED]} passed, {count[Verdict.FAILED]} failed{skipped}"


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
th, td {{ text-align: left; vertical-align: top;
         padding: .3rem .6rem; border-bottom: 1px solid var(--line); }}
.seconds {{ text-align: right; font-variant-numeric: tabular-nums; }}
.failed {{ color: var(--bad); font-weight: bold; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: var(--block); padding: .6rem; }}
</style>
</head>
<body>
<h1>DHT-14: {verdict}</h1>
<p>{totals}, in {seconds:.1f} s, on {when}, Python {python}.</p>
<table>
<caption>All tests by name, those that did not pass first</caption>
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


def page_of(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the whole report as HTML that needs no other file."""
    ordered = sorted(outcomes, key=lambda outcome: (outcome.verdict is Verdict.PASSED, outcome.name))
    failed = sum(outcome.verdict is Verdict.FAILED for outcome in outcomes)
    return _PAGE.format(
        verdict=f"{failed} tests failed" if failed else "all tests passed",
        totals=counts_of(outcomes),
        seconds=seconds,
        when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        python=sys.version.split()[0],
        rows="\n".join(map(_row, ordered)),
    )


def _row(outcome: Outcome) -> str:
    blocks = [f"<pre>{html.escape(detail)}</pre>" for detail in outcome.details]
    if outcome.log:
        blocks.append(f"<details><summary>Log</summary><pre>{html.escape(outcome.log)}</pre></details>")
    return _ROW.format(
        result=outcome.verdict.value,
        name=html.escape(outcome.name),
        promise=html.escape(outcome.promise),
        details="".join(blocks),
        seconds=outcome.seconds,
    )


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description="Run tests with trial, several at a time.")
    parser.add_argument("tests", nargs="*", metavar="TEST", default=["tests"], help="as for trial (tests)")
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help="tests at a time (%(default)s)")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="write an HTML page of all results")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("_trial_temp"),
        metavar="DIR",
        help="for files of tests (%(default)s)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the random order of tests (from the time)")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Run the tests that the command line names, print their results, and return the exit code."""
    args = arguments(words)
    assert isinstance(sys.stdout, TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.path.insert(0, str(TOP))
    seed = int(time.time()) if args.seed is None else args.seed
    tests = found(args.tests)
    random.Random(seed).shuffle(tests)
    print(f"Running {len(tests)} tests, {args.jobs} at a time, in the order of --seed {seed}.", flush=True)
    directory = args.directory.absolute() / "workers"
    shutil.rmtree(directory, ignore_errors=True)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    try:
        for outcome in run_all(tests, args.jobs, directory):
            outcomes.append(outcome)
            print(f"{outcome.verdict.value:<8}{outcome.seconds:>8.2f} s  {outcome.name}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted. These are the results until then.")
    seconds = time.monotonic() - began
    bad = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILED]
    for outcome in bad:
        print(f"\n{'=' * 79}\n{outcome.name}\n{outcome.promise}\n", *outcome.details, sep="\n")
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(page_of(outcomes, seconds), encoding="utf-8", errors="backslashreplace")
    print(f"\nRan {len(outcomes)} of {len(tests)} tests in {seconds:.1f} s.")
    print(counts_of(outcomes))
    return 0 if outcomes and len(outcomes) == len(tests) and not bad else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
