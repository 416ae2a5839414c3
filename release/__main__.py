"""``python -m release dist | audit | version X``, in the environment that ``make`` sets up in build/release."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .lock import SIDES, lock
from .stage import MEMBERS, ROOT, stage
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
        _bill_of_materials(side)
    for python in (sys.executable, *pythons):
        for side in SIDES:
            install(side, python)
    print(*sorted(path.name for path in DIST.iterdir()), sep="\n")


def _bill_of_materials(side: str) -> None:
    locks = [DIST / f"requirements-{side}.txt"]
    if side == "participant":
        locks.append(DIST / "requirements-torch-from-pypi.txt")
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "requirements.txt"
        together.write_text("".join(path.read_text(encoding="utf-8") for path in locks), encoding="utf-8")
        _run(
            *(
                BIN / "cyclonedx-py",
                "requirements",
                together,
                "--pyproject",
                ROOT / MEMBERS[SIDES[side][-1]] / "pyproject.toml",
            ),
            *("--output-reproducible", "--spec-version", "1.6", "-o", DIST / f"sbom-{side}.cdx.json"),
        )


def install(side: str, python: str) -> None:
    """What one side installs, in an empty environment of this interpreter: locked requirements with their hashes, then
    the wheels alone. A participant's has no torch: which one is theirs to say, and all but training works without."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        _run(python, "-m", "venv", "--without-pip", home)
        inside = home / "bin" / "python"
        wheels = [next(DIST.glob(f"{name.replace('-', '_')}-*.whl")) for name in SIDES[side]]
        into = (*UV, "install", "--quiet", "--no-deps", "--python", inside)
        _run(*into, "--require-hashes", "--only-binary", ":all:", "-r", DIST / f"requirements-{side}.txt")
        _run(*into, "--no-index", *wheels)
        if side == "operator":
            _run(*UV, "check", "--python", inside)
            _run(home / "bin" / "fedit-server", "--version")
            _quietly(inside, "-m", "fedit_shared.conformance", *sorted(VECTORS.glob("[kpw]*.json")))
        else:
            _run(home / "bin" / "fedit-client", "--version")
            _quietly(inside, "-c", "import edge_client as e; [getattr(e, name) for name in e.__all__]")


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
