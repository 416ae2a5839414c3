"""Take out or weaken every check of the protocol, one at a time, and see that a named test notices.

    python tests/attacks/mutate.py [--jobs N] [--only TEXT]

A check is what guards a ``raise`` (each operand of an ``or`` is one), an ``except`` that raises, or a call of another
check; they are found in the syntax trees of ``PROTOCOL``. Each is replaced by ``False`` or ``None``, and each ``<``,
``<=``, ``>``, ``>=`` in it moved by one. ``mutants.toml`` says of each what it stands for and which tests must notice,
and adds weakenings that no rule finds. Changes are made in a copy of the packages, never in the working tree. Exit
status 1 if a change survives. The result is kept in ``mutation.json``; ``test_mutants.py`` holds it against the code.
"""

import argparse
import ast
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE, RESULT = (Path(__file__).with_name(name) for name in ("mutants.toml", "mutation.json"))
SOURCES = {
    "fedit_shared": ROOT / "shared/src/fedit_shared",
    "edge_client": ROOT / "edge_client/src/edge_client",
    "agg_server": ROOT / "agg_server/src/agg_server",
}
PROTOCOL = (
    "fedit_shared/identity/keys.py",
    "fedit_shared/identity/requests.py",
    "fedit_shared/messages/codec.py",
    "fedit_shared/messages/task.py",
    "fedit_shared/parameters.py",
    "fedit_shared/quantize.py",
    "fedit_shared/secagg/aggregator.py",
    "fedit_shared/secagg/bodies.py",
    "fedit_shared/secagg/member.py",
    "fedit_shared/secagg/sealing.py",
    "fedit_shared/secagg/session.py",
    "fedit_shared/secagg/vectors.py",
    "fedit_shared/strategies.py",
    "edge_client/client/enrolment.py",
    "edge_client/client/seat.py",
    "edge_client/rounds/checks.py",
    "edge_client/rounds/steps.py",
    "edge_client/state/attempt.py",
    "edge_client/state/update.py",
    "agg_server/web/auth.py",
    "agg_server/driver/service.py",
    "agg_server/enrolment.py",
    "agg_server/rounds/transitions.py",
    "agg_server/storage/uploads.py",
)
CALLS = frozenset(
    """verify check_deal check_certificate check_vector check_round_key require_rising require_time require_own_entry
    require_known require_signed index _check_survivors _check_prepare _check_deal""".split()
)
SHIFTED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
TIMEOUT = 300


@dataclass(frozen=True)
class Change:
    """``old``, at ``start`` of ``file``, becomes ``new``. ``check`` names what is changed: function and source."""

    file: str
    check: str
    kind: str
    start: int
    old: str
    new: str
    claim: str = ""
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.file}: {self.check} [{self.kind}]"


@dataclass(frozen=True)
class Outcome:
    """``noticed_by``: the first named test that failed; empty if all passed."""

    change: Change
    noticed_by: str
    problem: str = ""


def source_of(file: str, copy: Path | None) -> Path:
    """A source file in the working tree, or in a copy of the packages."""
    package, _, rest = file.partition("/")
    return copy / file if copy else SOURCES[package] / rest


def checks_in(file: str, copy: Path | None = None) -> Iterator[Change]:
    """All changes that the rules make in one file."""
    text = source_of(file, copy).read_text()
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    def change(function: str, node: ast.expr, kind: str, new: str) -> Change:
        old = ast.get_source_segment(text, node)
        assert old is not None
        start = text.index(old, lines[node.lineno - 1])
        return Change(file, f"{function}: {ast.unparse(node)}", kind, start, old, new)

    def visit(node: ast.AST, function: str) -> Iterator[Change]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        elif isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
            for atom in operands(node.test):
                yield change(function, atom, "taken out", "False")
                for compared in ast.walk(atom):
                    yield from shifted(text, change(function, atom, "moved by one", ""), compared)
        elif isinstance(node, ast.ExceptHandler) and any(isinstance(inner, ast.Raise) for inner in node.body):
            if node.type is not None:
                yield change(function, node.type, "not caught", "ZeroDivisionError")
        elif isinstance(node, ast.Expr):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in CALLS:
                yield change(function, node.value, "taken out", "None")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(ast.parse(text), "")


def operands(test: ast.expr) -> Iterator[ast.expr]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        for value in test.values:
            yield from operands(value)
    else:
        yield test


def shifted(text: str, atom: Change, node: ast.AST) -> Iterator[Change]:
    """The atom with each of the comparison's bounds moved by one."""
    if not isinstance(node, ast.Compare):
        return
    sides: list[ast.expr] = [node.left, *node.comparators]
    for place, operator in enumerate(node.ops):
        if type(operator) in SHIFTED:
            left, right = (ast.get_source_segment(text, side) for side in sides[place : place + 2])
            pattern = re.escape(left or "") + r"\s*(<=|>=|<|>)\s*" + re.escape(right or "")
            found = re.search(pattern, atom.old)
            assert found is not None, atom
            new = atom.old[: found.start(1)] + SHIFTED[type(operator)] + atom.old[found.end(1) :]
            kind = f"{found[1]} {right} becomes {SHIFTED[type(operator)]} {right}" if len(sides) > 2 else ""
            kind = kind or f"{found[1]} becomes {SHIFTED[type(operator)]}"
            yield Change(atom.file, atom.check, kind, atom.start, atom.old, new)


def all_changes(copy: Path | None = None) -> list[Change]:
    """Every change, with its claim and tests. Raises ValueError for a check that ``mutants.toml`` does not list, or an
    entry of it that is no check."""
    table = tomllib.loads(TABLE.read_text())
    listed = {(file, check): entry for file, checks in table["checks"].items() for check, entry in checks.items()}
    found = [change for file in PROTOCOL for change in checks_in(file, copy)]
    changes = []
    for change in found:
        claim, *tests = listed.get((change.file, change.check), [""])
        if change.name not in table["exempt"]:
            changes.append(replace(change, claim=claim, tests=tuple(map(path_of, tests))))
    for entry in table["weakened"]:
        file, old, text = entry["file"], entry["old"], source_of(entry["file"], copy).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file} holds {text.count(old)} times: {old}")
        check, tests = " ".join(old.split()), tuple(map(path_of, entry["tests"]))
        kind = f"becomes {' '.join(entry['new'].split()) or 'nothing'}"
        changes.append(Change(file, check, kind, text.index(old), old, entry["new"], entry["claim"], tests))
    missing = sorted({f"{change.file}: {change.check}" for change in changes if not change.claim})
    stale = sorted(set(listed) - {(change.file, change.check) for change in found})
    gone = sorted(set(table["exempt"]) - {change.name for change in found})
    if missing or stale or gone:
        raise ValueError(f"without a claim: {missing}; no check any more: {stale}; nothing to exempt: {gone}")
    return changes


def path_of(test: str) -> str:
    """A test's name for pytest."""
    file, _, name = test.partition("::")
    return f"tests/{file}.py::{name}"


def pytest(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-W", "ignore"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def run_change(folder: Path, change: Change) -> Outcome:
    """Run the tests that should notice, against the copy in ``folder`` with this one change."""
    path = folder / change.file
    text, times = path.read_text(), path.stat()
    path.write_text(text[: change.start] + change.new + text[change.start + len(change.old) :])
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        stale.unlink()
    try:
        done = pytest(folder, change.tests)
    except subprocess.TimeoutExpired:
        return Outcome(change, "", f"no end after {TIMEOUT} s")
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # numba keeps what it compiled of this file
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return Outcome(change, failed[1])
    return Outcome(change, "", "" if done.returncode == 0 else done.stdout[-400:] + done.stderr[-400:])


def run(only: str, jobs: int) -> list[Outcome]:
    """All outcomes, in order."""
    folders: queue.Queue[Path] = queue.Queue()
    with tempfile.TemporaryDirectory() as temporary:
        first, *others = (Path(temporary) / str(job) for job in range(jobs))
        for name, source in SOURCES.items():
            shutil.copytree(source, first / name)  # with what numba has compiled
        changes = [change for change in all_changes(first) if only in change.name + change.claim]
        unchanged = pytest(first, sorted({test for change in changes for test in change.tests}))
        if unchanged.returncode != 0:
            raise SystemExit(f"The tests fail without a change:\n{unchanged.stdout}{unchanged.stderr}")
        for folder in others:
            shutil.copytree(first, folder)
        for folder in (first, *others):
            folders.put(folder)

        def one(change: Change) -> Outcome:
            folder = folders.get()
            try:
                outcome = run_change(folder, change)
            finally:
                folders.put(folder)
            print(f"{'noticed ' if outcome.noticed_by else 'SURVIVED'}  {change.name}  {outcome.problem}", flush=True)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, changes))


def keep(outcomes: Sequence[Outcome]) -> None:
    """Write the result; what was not run this time stays as it was, unless it is gone from the code."""
    before = json.loads(RESULT.read_text())["outcomes"] if RESULT.exists() else []
    kept = {f"{old['file']}: {old['check']} [{old['change']}]": old for old in before}
    for outcome in outcomes:
        change = outcome.change
        kept[change.name] = {
            "file": change.file,
            "check": change.check,
            "change": change.kind,
            "claim": change.claim,
            "noticed_by": outcome.noticed_by,
        }
    names = dict.fromkeys(change.name for change in all_changes())
    ordered = [kept[name] for name in names if name in kept]
    survivors = [name for name in names if name in kept and not kept[name]["noticed_by"]]
    summary = {"changes": len(ordered), "survivors": survivors, "outcomes": ordered}
    RESULT.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="changes whose name or claim has this text")
    wanted = parser.parse_args()
    outcomes = run(wanted.only, wanted.jobs)
    survivors = [outcome.change.name for outcome in outcomes if not outcome.noticed_by]
    keep(outcomes)
    print(f"{len(outcomes)} changes, {len(outcomes) - len(survivors)} noticed, {len(survivors)} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
