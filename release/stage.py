"""The folders that a release is built from: the members with their licence, and a front door that PyPI takes.

In the checkout the front door names the members by path, so that `pip install .` works in a clone; a package index
accepts no such names, so the released one asks for the members' very version.
"""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from packaging.version import Version

from .links import ROOT, absolute, repository

MEMBERS = {"fedit-shared": "shared", "edge-client": "edge_client", "agg-server": "agg_server"}
FRONT = "fedit"
KEPT_EXTRAS = ("server",)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nbc", "*.nbi", ".*", "build", "dist")


def project(folder: Path) -> dict[str, Any]:
    """The table ``project`` of a folder's pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def stage(out: Path) -> dict[str, Path]:
    """Fill the new folder ``out``; distribution → the folder to build it from. What PyPI shows of each leads to the
    repository, where that has an address. Raises SystemExit for a version that is to be released without one."""
    address, version = repository(), project(ROOT)["version"]
    if not address and not Version(version).is_devrelease:
        raise SystemExit(
            f"Version {version} would have pages on PyPI whose links lead nowhere: write the repository's address into "
            "pyproject.toml, [tool.fedit] repository."
        )
    folders = {name: out / folder for name, folder in MEMBERS.items()} | {FRONT: out / FRONT}
    for folder in MEMBERS.values():
        shutil.copytree(ROOT / folder, out / folder, ignore=LEFT_OUT)
    folders[FRONT].mkdir()
    shutil.copy(ROOT / "README.md", folders[FRONT])
    (folders[FRONT] / "pyproject.toml").write_text(front_door(), encoding="utf-8")
    sources = {name: f"{folder}/README.md" for name, folder in MEMBERS.items()} | {FRONT: "README.md"}
    for name, built in folders.items():
        shutil.copy(ROOT / "LICENSE", built)
        readme = built / "README.md"
        readme.write_text(
            absolute(readme.read_text(encoding="utf-8"), sources[name], version, address), encoding="utf-8"
        )
        if address:
            told = f'\n[project.urls]\nSource = "{address}"\nChangelog = "{address}/blob/main/CHANGELOG.md"\n'
            with (built / "pyproject.toml").open("a", encoding="utf-8") as file:
                file.write(told)
    return folders


def front_door() -> str:
    """The released front door's pyproject.toml."""
    told = project(ROOT)
    pin = f"=={told['version']}"
    by_name = [re.sub(r" @ .*", pin, requirement) for requirement in told["dependencies"]]
    extras = {
        name: [re.sub(r" @ .*", pin, requirement) for requirement in told["optional-dependencies"][name]]
        for name in KEPT_EXTRAS
    }
    lines = [
        "[build-system]",
        'requires = ["hatchling>=1.27"]',
        'build-backend = "hatchling.build"',
        "",
        "[project]",
        *(f"{key} = {_toml(told[key])}" for key in ("name", "version", "description", "readme", "license")),
        f"requires-python = {_toml(told['requires-python'])}",
        f"dependencies = {_toml(by_name)}",
        "",
        "[project.optional-dependencies]",
        *(f"{name} = {_toml(requirements)}" for name, requirements in extras.items()),
        "",
        "[tool.hatch.build.targets.wheel]",
        "bypass-selection = true",
        "",
    ]
    return "\n".join(lines)


def _toml(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
