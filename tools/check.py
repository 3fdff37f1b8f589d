"""Runs the checks and the tests: `python tools/check.py [STAGE...]`, all of them by default, and sums up at the end.

Every stage runs, whatever became of those before it. The exit code is 0 only where all succeeded.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYTHON = [sys.executable]
AGENT = ROOT / "operator" / "moorage" / "agent"
OLDEST_GUEST = (3, 8)
TESTS = ("unit", "api", "contract", "e2e")
REAL = ("api", "e2e")
"""The stages that need a real control plane."""
WITH_BEDS = ("contract", "e2e")
"""The stages that need the test beds. Side by side they take as long as one after another: beds keep CPUs busy."""
STAGES = ("lint", *TESTS)
STARTED = "MOORAGE_BEDS_STARTED"
"""The folder in which tests note the test beds that they start, see `tests/support/beds.py`."""
UNLOCKED = frozenset({"libvirt-python"})
"""Requirements that no lock can hold, see `tools/lock`."""
SECOND_TRIES = 10
"""The most failed tests of a stage that are tried a second time: more than that is no accident."""
FINAL = "PromiseBroken"
"""The error of a test that is never tried again: a server made twice in one of two runs is made twice."""
ELSEWHERE = {"not applicable": "not applicable", "left to the full matrix": "left to test-backends"}
"""How the reasons of skips begin that say nothing of this machine, and how they are counted: `skipped` is what this
machine cannot run."""


@dataclass
class Outcome:
    """What became of one stage. Counts are of tests."""

    stage: str
    ok: bool
    seconds: float = 0.0
    cpu: float = 0.0
    """CPU seconds of its processes, as far as they are our children: not those of test beds, which are daemons."""
    failed: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    again: bool = False
    """Whether what failed is worth a second try."""


def say(text: str) -> None:
    """Tell what is done."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def lint() -> Outcome:
    """Everything that is checked without running anything."""
    sources = [name for name in ("operator", "tests", "bench", "tools", "examples") if (ROOT / name).is_dir()]
    checks: dict[str, Callable[[], bool]] = {
        "format (ruff format)": lambda: _run(BIN / "ruff", "format", "--check", "--quiet", *sources),
        "rules (ruff check)": lambda: _run(BIN / "ruff", "check", "--quiet", *sources),
        "types (mypy --strict)": lambda: _run(*PYTHON, "-m", "mypy", "--no-error-summary", *_typed(sources)),
        "imports (import-linter)": lambda: _run(BIN / "lint-imports", quiet=True),
        "the agent runs on old Pythons": lambda: _report(agent_problems(AGENT)),
        "CRDs are those of the models": lambda: _run(*PYTHON, "-m", "moorage.api.crd", "--check", "crds"),
        "the API reference, too": lambda: _run(
            *PYTHON, "-m", "moorage.api.reference", "--check", "docs/reference/api.md"
        ),
        "the locks hold the dependencies": lambda: _report(lock_problems(ROOT)),
    }
    failed = []
    for name, check in checks.items():
        say(f"lint: {name}")
        if not check():
            failed.append(name)
    return Outcome("lint", not failed, failed=failed)


def tests(stage: str, workers: int, extra: Sequence[str]) -> Outcome:
    """One folder of tests."""
    if stage in REAL:
        # May take minutes the first time. Where it fails, the tests that need it say so.
        _run(*PYTHON, "-m", "moorage.controlplane", "prepare")
    say(f"{stage}: tests/{stage}")
    with tempfile.TemporaryDirectory(prefix="moorage-check-") as scratch:
        report = Path(scratch) / "report.xml"
        # Tests of one test bed wait for each other: they stay together. The contract's wait more than they work.
        spread, workers = "loadgroup" if stage in WITH_BEDS else "worksteal", workers * (1 + (stage == "contract"))
        parallel = [f"--numprocesses={workers}", f"--dist={spread}"] if workers > 1 else []
        ok = _run(*_pytest(stage), f"--junitxml={report}", "--quiet", *parallel, *extra)
        counts = count(report) if report.is_file() else {}
        few = not ok and 0 < counts.get("failed", 0) <= SECOND_TRIES
        again = few and not any(map(is_final, failures(report)))
    return Outcome(stage, ok, counts=counts, again=again)


class Beds:
    """The test beds: installed beside the stages that do not need them, run while the others need them."""

    def __init__(self, stages: Sequence[str]) -> None:
        asked = subprocess.run(
            [*PYTHON, "-m", "moorage.cli", "testbed", "list", "-o", "json"], capture_output=True, check=False
        )
        if asked.returncode != 0:
            raise SystemExit(f"moorage testbed list fails:\n{asked.stderr.decode(errors='replace')}")
        self.names = [bed["name"] for bed in json.loads(asked.stdout) if not bed["lacks"]]
        self._started = tempfile.TemporaryDirectory(prefix="moorage-check-beds-")
        os.environ[STARTED] = self._started.name
        self._installing: subprocess.Popen[bytes] | None = None
        if set(stages) & set(WITH_BEDS) and self.names:
            say(f"test beds: installing what is missing for {', '.join(self.names)}, beside the checks")
            self._installing = self._begin("install", *self.names)

    def ready(self) -> None:
        """Have them installed. What went wrong, the tests that need the bed tell."""
        if self._installing is not None:
            self._installing.wait()
            self._installing = None

    def end(self) -> None:
        """Stop those that the tests started."""
        if self._installing is not None:
            self._installing.terminate()
            self._installing.wait()
        started = sorted(path.name for path in Path(self._started.name).iterdir())
        self._started.cleanup()
        if started:
            self._begin("down", *started).wait()

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*PYTHON, "-m", "moorage.cli", "testbed", *words], cwd=ROOT)


def _pytest(stage: str) -> list[str]:
    # Each stage remembers its failures apart, for its second try.
    return [*PYTHON, "-m", "pytest", f"tests/{stage}", "-o", f"cache_dir=.pytest_cache/{stage}"]


def second_try(outcome: Outcome, extra: Sequence[str]) -> None:
    """Run what failed once more, while nothing else runs: a machine with other work makes waits fail. What passes only
    now is named."""
    failed = outcome.counts["failed"]
    say(f"{outcome.stage}: {failed} failed; once more, one after another")
    outcome.ok = _run(*_pytest(outcome.stage), "--last-failed", "--last-failed-no-failures=none", "-v", *extra)
    if outcome.ok:
        say(f"{outcome.stage}: {failed} passed only on a second try (named above): each is a bug to be mended first")
        outcome.counts["passed"], outcome.counts["failed"] = outcome.counts["passed"] + failed, 0


def count(report: Path) -> dict[str, int]:
    """How many tests of a JUnit report passed, failed and were skipped, those that do not apply counted apart."""
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it a moment ago
    total = {"passed": 0, "failed": 0, "skipped": 0, **dict.fromkeys(ELSEWHERE.values(), 0)}
    for suite in suites:
        for reason in (skip.get("message", "") for skip in suite.iter("skipped")):
            word = next((word for start, word in ELSEWHERE.items() if reason.startswith(start)), None)
            if word is not None:
                total[word] += 1
                total["skipped"] -= 1
        failed = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped = int(suite.get("skipped", "0"))
        total["failed"] += failed
        total["skipped"] += skipped
        total["passed"] += max(0, int(suite.get("tests", "0")) - failed - skipped)
    return total


def failures(report: Path) -> list[str]:
    """What the failed tests of a JUnit report say in short."""
    tree = ET.parse(report)  # noqa: S314 - pytest wrote it a moment ago
    return [found.get("message", "") for word in ("failure", "error") for found in tree.getroot().iter(word)]


def is_final(message: str) -> bool:
    """Whether a failure says that a promise was broken."""
    return message.partition(":")[0].rpartition(".")[2] == FINAL


def agent_problems(folder: Path, version: tuple[int, int] = OLDEST_GUEST) -> list[str]:
    """What keeps the agent from running on a bare Python `version`: newer syntax, or imports of packages."""
    problems = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder.parent)
        try:
            tree = ast.parse(path.read_text(), filename=f"{path}", feature_version=version)
        except SyntaxError as error:
            problems.append(f"{name}:{error.lineno}: not Python {version[0]}.{version[1]}: {error.msg}")
            continue
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            problems += [
                f"{name}:{getattr(node, 'lineno', 0)}: {module} is not of the standard library"
                for module in modules
                if module.split(".")[0] not in sys.stdlib_module_names and not module.startswith("moorage.agent")
            ]
    return problems


def lock_problems(root: Path) -> list[str]:
    """Which dependencies of pyproject.toml the committed locks do not hold."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"]]
    for extra in project["project"].get("optional-dependencies", {}).values():
        wanted += extra
    groups = {"runtime": wanted, "dev": [*wanted, *project["dependency-groups"]["dev"]]}
    problems = []
    for name, requirements in groups.items():
        locked = _locked((root / "requirements" / f"{name}.txt").read_text())
        for requirement in map(Requirement, requirements):
            if canonicalize_name(requirement.name) in UNLOCKED:
                continue
            version = locked.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                problems.append(f"requirements/{name}.txt has {version or 'no'} {requirement}: run make lock")
    return problems


def _locked(text: str) -> dict[str, str]:
    lines = (line.split(" ", 1)[0] for line in text.splitlines() if "==" in line and not line.startswith((" ", "#")))
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table at the end; its last line says it in one form that every reader of logs knows."""
    lines = [""]
    total = {"passed": 0, "failed": 0, "skipped": 0, **dict.fromkeys(ELSEWHERE.values(), 0)}
    for outcome in outcomes:
        counts = ", ".join(f"{number} {word}" for word, number in outcome.counts.items() if number)
        detail = "; ".join(filter(None, [counts, *outcome.failed]))
        word, spent = "ok" if outcome.ok else "FAILED", f"{outcome.seconds:5.0f} s {outcome.cpu:5.0f} CPU s"
        lines.append(f"{outcome.stage:<9} {word:<7} {spent}  {detail}")
        for word, number in outcome.counts.items():
            total[word] += number
        if not outcome.ok and not outcome.counts.get("failed"):
            total["failed"] += 1
    beside = "; ".join(f"{total[word]} {word}" for word in ELSEWHERE.values() if total[word])
    if beside:
        lines.append(f"beside these: {beside}")
    lines.append(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return "\n".join(lines)


def _typed(sources: Sequence[str]) -> list[str]:
    # The bootstrap has to run on a Python that has nothing, and has no types for it.
    # Of the examples, one is a Python project; the others' programs are the guests'.
    plugin = ["examples/backend-plugin/src", "examples/backend-plugin/tests"]
    return [name for name in sources if name not in {"tools", "examples"}] + ["tools/check.py", *plugin]


def _cpu() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def _run(*argv: str | Path, quiet: bool = False) -> bool:
    """Whether a program succeeds. `quiet`: what it says is told only where it fails."""
    words, heard = [f"{word}" for word in argv], subprocess.PIPE if quiet else None
    done = subprocess.run(
        words, cwd=ROOT, check=False, stdout=heard, stderr=heard and subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode != 0 and quiet:
        say(done.stdout)
    return done.returncode == 0


def _report(problems: Sequence[str]) -> bool:
    for problem in problems:
        say(f"  {problem}")
    return not problems


def _one(stage: str, workers: int, extra: Sequence[str], beds: Beds) -> Outcome:
    started, spent = time.monotonic(), _cpu()
    if stage in WITH_BEDS:
        beds.ready()
    outcome = lint() if stage == "lint" else tests(stage, workers, extra)
    if outcome.again:
        second_try(outcome, extra)
    outcome.seconds, outcome.cpu = time.monotonic() - started, _cpu() - spent
    return outcome


def main() -> int:
    """Run the stages that are named; the exit code is 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)} (default: all)")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="test processes at a time")
    parsed, extra = parser.parse_known_args()
    unknown = set(parsed.stages) - set(STAGES)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    # What one process compiled, the others need not: half of the time of a short one goes into that.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    stages = [stage for stage in STAGES if stage in (parsed.stages or STAGES)]
    beds = Beds(stages)
    try:
        outcomes = [_one(stage, parsed.workers, extra, beds) for stage in stages]
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        beds.end()
    say(summary(outcomes))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
