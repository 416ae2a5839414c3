"""A README on PyPI's page: its links lead to the repository, since no file lies beside it there."""

import posixpath
import re
import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK: re.Pattern[str] = runpy.run_path(str(ROOT / "docs" / "tools" / "links.py"))["LINK"]


def repository() -> str:
    """Where this repository is for everybody, from ``[tool.fedit]`` in pyproject.toml; "" as long as it is nowhere."""
    address: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["fedit"]["repository"]
    return address.rstrip("/")


def absolute(markdown: str, source: str, version: str, address: str) -> str:
    """``markdown`` of the file ``source``, with links to the files of this version at ``address``. Without an address a
    link loses its target and keeps its words, and a picture is left out."""

    def lead(link: re.Match[str]) -> str:
        mark, target, anchor = link[1], link[3], link[4] or ""
        if not address:
            return "" if mark else LINK.sub(lead, link[2])
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        kind = "raw" if mark else "blob"
        return f"{mark}[{LINK.sub(lead, link[2])}]({address}/{kind}/v{version}/{path}{anchor})"

    return LINK.sub(lead, markdown)
