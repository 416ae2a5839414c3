"""The version, in all places where it stands."""

import re
from pathlib import Path

from packaging.version import InvalidVersion, Version

PROJECTS = (
    "pyproject.toml",
    *(f"{member}/pyproject.toml" for member in ("shared", "edge_client", "agg_server", "benchmarks")),
)
MODULES = (
    "shared/src/fedit_shared/__init__.py",
    "edge_client/src/edge_client/__init__.py",
    "agg_server/src/agg_server/__init__.py",
)
STANDS = re.compile(
    r'^(?P<before>(?:__)?version(?:__)? = "|\s+"(?:fedit-shared|edge-client|agg-server)==)(?P<version>[^"]+)"',
    re.MULTILINE,
)


def set_version(root: Path, version: str) -> list[str]:
    """Write it everywhere; the files. Raises SystemExit for what is no version in its shortest form, or where a file
    has no place for one."""
    try:
        plain = str(Version(version))
    except InvalidVersion:
        plain = ""
    if plain != version:
        raise SystemExit(f"{version!r} is no version{f'; write {plain}' if plain else ''}.")
    for name in (*PROJECTS, *MODULES):
        path = root / name
        text, count = STANDS.subn(lambda found: f'{found["before"]}{version}"', path.read_text(encoding="utf-8"))
        if not count:
            raise SystemExit(f"{name} names no version.")
        path.write_text(text, encoding="utf-8")
    return [*PROJECTS, *MODULES]
