"""Check the models of the handshake: put each question to the theorem prover SPASS, each run to Spin.

`python -m tests.models.check` (`tox -e model`) ends with exit code 1 when an answer is not the expected one,
and with 2 when a tool is missing. It takes one or two minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

from tests.models.questions import ATTACKS, LIMITS, MUTANTS, RULES, STEPS, Question, Rules

TOOLS = {"SPASS": "spass", "spin": "spin", "cc": "gcc"}
"""The Debian package of each."""
SECONDS = 120
"""The time for one question. An answer takes about one second."""
ANSWERS = {"Proof found.": True, "Completion found.": False}
"""Whether the formula follows. "Completion": all that follows was derived, and not the formula."""
REPLAYS = Path(__file__).parent / "replay.pml"
REPLAY_MUTANTS = {
    "": "a FINISH is accepted once, whenever and however often it comes again",
    "SMALL_MEMORY": "the responder remembers too few FINISHes",
    "NO_MEMORY": "the responder remembers no FINISH",
    "COOKIES_FOR_EVER": "cookies do not grow old",
    "SECRET_KEPT": "the secret of the cookies and the pre-keys survive a restart",
}


@frozen
class Check:
    """One question with the answer that it must have."""

    kind: str
    meaning: str
    question: Question
    rules: Rules
    expected: bool

    def is_good(self) -> bool:
        """Ask, and return whether the answer is the expected one."""
        return ask(self.question, self.rules) is self.expected


def problem(question: Question, rules: Rules) -> str:
    """Return the text of a problem in TPTP: the rules, those of later knowledge, and the formula."""
    given = RULES | question.setting | rules
    late = {
        f"late_{name}": rule.replace("att(", "late(") for name, rule in given.items() if "intruder" in name
    }
    lines = [f"fof({name}, axiom, {rule})." for name, rule in (given | late).items()]
    return "\n".join([*lines, f"fof(question, conjecture, {question.formula}).", ""])


def ask(question: Question, rules: Rules) -> bool:
    """Return whether the formula follows. Raises RuntimeError when the prover gives no answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".p") as file:
        file.write(problem(question, rules))
        file.flush()
        command = ["SPASS", "-TPTP", f"-TimeLimit={SECONDS}", "-PGiven=0", "-PProblem=0", file.name]
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    found = re.search(r"SPASS beiseite: (.*)", run.stdout)
    if found is None or found[1] not in ANSWERS:
        raise RuntimeError(f"no answer to {question.meaning!r}: {run.stdout[-400:]}")
    return ANSWERS[found[1]]


def checks() -> Iterator[Check]:
    """Give all questions to the prover."""
    for question in STEPS.values():
        yield Check("possible", question.meaning, question, {}, True)
    for question in ATTACKS.values():
        yield Check("proved", question.meaning, question, {}, False)
    for question in LIMITS.values():
        yield Check("limit", question.meaning, question, {}, True)
    for mutant in MUTANTS:
        for name in mutant.finds:
            yield Check("mutant", f"{mutant.fault}: breaks {name!r}", ATTACKS[name], mutant.rules, True)
        for name in mutant.keeps:
            yield Check("mutant", f"{mutant.fault}: keeps {name!r}", ATTACKS[name], mutant.rules, False)


def replay_is_possible(mutant: str, directory: str) -> bool:
    """Return whether Spin finds a run in which one FINISH is accepted twice."""
    define = [f"-D{mutant}"] if mutant else []
    subprocess.run(["spin", *define, "-a", REPLAYS], cwd=directory, check=True, stdout=subprocess.PIPE)
    subprocess.run(["cc", "-O2", "-DSAFETY", "-o", "pan", "pan.c"], cwd=directory, check=True)
    run = subprocess.run(["./pan", "-m100000"], cwd=directory, check=True, stdout=subprocess.PIPE, text=True)
    errors = re.search(r"errors: (\d+)", run.stdout)
    if errors is None or ("Search not completed" in run.stdout and errors[1] == "0"):
        raise RuntimeError(f"Spin did not finish: {run.stdout[-400:]}")
    return errors[1] != "0"


def main() -> int:
    """Check all, print a line for each, and return the exit code."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(TOOLS[tool] for tool in missing)
        print(f"Not installed: {', '.join(missing)}. On Debian: apt-get install {packages}", file=sys.stderr)
        return 2
    wrong = count = 0
    everything = list(checks())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for check, good in zip(everything, pool.map(Check.is_good, everything), strict=True):
            print(f"{'ok   ' if good else 'WRONG'} {check.kind:<8} {check.meaning}", flush=True)
            wrong, count = wrong + (not good), count + 1
    for mutant, meaning in REPLAY_MUTANTS.items():
        with tempfile.TemporaryDirectory() as directory:
            good = replay_is_possible(mutant, directory) is bool(mutant)
        print(f"{'ok   ' if good else 'WRONG'} {'mutant' if mutant else 'checked':<8} {meaning}", flush=True)
        wrong, count = wrong + (not good), count + 1
    print(f"{count} answers, {wrong} of them wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
