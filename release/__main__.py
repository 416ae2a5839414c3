"""``python -m release dist | audit | version X``, in the environment that ``make`` sets up in build/release."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .bom import bill_of_materials
from .links import ROOT
from .lock import SIDES, lock
from .stage import MEMBERS, stage
from .version import set_version

DIST = ROOT / "dist"
BIN = Path(sys.executable).parent
UV = (BIN / "uv", "pip")
VECTORS = ROOT / "tests" / "vectors"
ALLOWED = {"agg_server": "W004", "fedit": "W007,W008"}
"""Distribution → what check-wheel-contents finds in it by intent: migrations, which Alembic loads by path and whose
names begin with a number; no modules, in the front door."""


def main(verb: str, *rest: str) -> None:
    """Do one step. ``dist``: the interpreters that both sides are to be installed under as well."""
    match verb, rest:
        case "dist", pythons:
            dist(pythons)
        case "audit", ():
            audit()
        case "version", (version,):
            print(*set_version(ROOT, version), sep="\n")
        case _:
            raise SystemExit(__doc__)


def dist(pythons: tuple[str, ...]) -> None:
    """Everything of a release in dist/: wheels, source distributions, locked requirements, bills of materials."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as staged:
        for folder in stage(Path(staged) / "release").values():
            _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, folder)
    wheels, sources = sorted(DIST.glob("*.whl")), sorted(DIST.glob("*.tar.gz"))
    assert len(wheels) == len(sources) == len(MEMBERS) + 1
    _run(BIN / "twine", "check", "--strict", *wheels, *sources)
    for wheel in wheels:
        allowed = ALLOWED.get(wheel.name.partition("-")[0])
        _run(BIN / "check-wheel-contents", *(["--ignore", allowed] if allowed else []), wheel)
    for side in SIDES:
        for name, text in lock(side).items():
            (DIST / name).write_text(text, encoding="utf-8")
    for python in (sys.executable, *pythons):
        for side in SIDES:
            install(side, python, bill=python == sys.executable)
    print(*sorted(path.name for path in DIST.iterdir()), sep="\n")


def install(side: str, python: str, *, bill: bool) -> None:
    """What one side installs, in an empty environment of this interpreter: locked requirements with their hashes, its
    extras' too, then the wheels alone. A participant's has no torch: which one is theirs to say, and all but training
    works without. ``bill``: write its bill of materials."""
    locks = sorted(DIST.glob(f"requirements-{side}*.txt"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        _run(python, "-m", "venv", "--without-pip", home)
        inside = home / "bin" / "python"
        wheels = [next(DIST.glob(f"{name.replace('-', '_')}-*.whl")) for name in SIDES[side]]
        into = (*UV, "install", "--quiet", "--no-deps", "--python", inside)
        for lock_file in locks:
            _run(*into, "--require-hashes", "--only-binary", ":all:", "-r", lock_file)
        _run(*into, "--no-index", *wheels)
        if side == "operator":
            _run(*UV, "check", "--python", inside)
            _run(home / "bin" / "fedit-server", "--version")
            _quietly(inside, "-m", "fedit_shared.conformance", *sorted(VECTORS.glob("[kpw]*.json")))
        else:
            _run(home / "bin" / "fedit-client", "--version")
            _quietly(inside, "-c", "import edge_client as e; [getattr(e, name) for name in e.__all__]")
            locks.append(DIST / "requirements-torch-from-pypi.txt")
        if bill:
            told = bill_of_materials(inside, ROOT / MEMBERS[SIDES[side][-1]], locks)
            (DIST / f"sbom-{side}.cdx.json").write_text(told, encoding="utf-8")


def audit() -> None:
    """What is known against any locked version. A package that cannot be looked up fails it, too."""
    for path in sorted(DIST.glob("requirements-*.txt")):
        _run(BIN / "pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", path)


def _run(*command: object) -> None:
    """The command's own words are shown. Raises SystemExit with its status if it fails."""
    words = [str(word) for word in command]
    print("→", " ".join(Path(word).name if word.startswith("/") else word for word in words), flush=True)
    if status := subprocess.run(words, cwd=ROOT, check=False).returncode:
        raise SystemExit(status)


def _quietly(*command: object) -> None:
    """As :func:`_run`; what it says is shown only if it fails."""
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["help"]))
